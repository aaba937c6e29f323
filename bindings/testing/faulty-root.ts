// testing/faulty-root.ts: a Root whose calls fail where a test says so. Wraps any Root; without a plan it changes nothing.
//
// Calls of the root and of its segments are counted together, so that "the k-th call fails, for every k" walks through a whole workload. A fault strikes
// before the effect (nothing happened), after it (a lost acknowledgement), or in the middle of a segment's write (half of the bytes).
// Invariant: a failed datasync leaves its segment failing, as a real descriptor must be treated; the data it would have synced is not synced.
import { StorageError, type StorageErrorClass, UnsupportedRootError } from '../errors.ts'
import type { GetOptions, HeldObject, ObjectInfo, PutOptions, Root, RootCaps, SegmentFile } from '../root/index.ts'
import { FailpointError, type FailpointName, type Failpoints, type FileStat, FP } from '../runtime/index.ts'

export type RootMethod =
  | 'get'
  | 'head'
  | 'exists'
  | 'put'
  | 'putIfAbsent'
  | 'putLarge'
  | 'list'
  | 'delete'
  | 'deletePrefix'
  | 'link'
  | 'rename'
  | 'segment'
  | 'hold'
  | 'syncDir'
  | 'isCurrent'
  | 'segment.read'
  | 'segment.write'
  | 'segment.datasync'
  | 'segment.truncate'
  | 'segment.close'

export interface RootCall {
  /** From 1, over all methods. */
  readonly n: number
  readonly method: RootMethod
  /** The object; of link and rename the target, of several the first. */
  readonly name: string
}

export interface RootFault {
  /** A StorageError of this class, or this very error. Without it the call goes through (after `wait`). */
  readonly error?: StorageErrorClass | Error
  /** When the error strikes: default `before`. `half` is for segment.write (else as `before`). */
  readonly when?: 'before' | 'after' | 'half'
  /** Awaited before the call (asynchronous calls only): a slow disk, a parked writer. */
  readonly wait?: () => Promise<void>
}

export type RootFaultPlan = (call: RootCall) => RootFault | undefined

/** Methods that are failpoints too. */
const POINTS: Readonly<Partial<Record<RootMethod, FailpointName>>> = FP.root

/** @example const root = new FaultyRoot(inner); root.failAt(3, { error: 'io' }) */
export class FaultyRoot implements Root {
  readonly inner: Root
  /** Every call so far. */
  readonly calls: RootCall[] = []
  #plan: RootFaultPlan | undefined
  readonly #failpoints: Failpoints | undefined

  /** @param o.failpoints  those of the world: FP.root.<method> surrounds each call; after a crash no call settles */
  constructor(inner: Root, o: { plan?: RootFaultPlan; failpoints?: Failpoints } = {}) {
    this.inner = inner
    this.#plan = o.plan
    this.#failpoints = o.failpoints
  }

  get url(): string {
    return this.inner.url
  }

  /** Those of the inner root; without hard links or directory syncs where FP.root.link or FP.root.syncDir is enabled. */
  get caps(): RootCaps {
    return this.#lessened(this.inner.caps)
  }

  plan(plan: RootFaultPlan | undefined): void {
    this.#plan = plan
  }

  /** The k-th call from now (from 1) fails; `only` restricts which calls count. */
  failAt(k: number, fault: RootFault, only: (call: RootCall) => boolean = () => true): void {
    let left = k
    this.#plan = (call) => (only(call) && --left === 0 ? fault : undefined)
  }

  get(name: string, o?: GetOptions & { signal?: AbortSignal }): Promise<{ bytes: Uint8Array; tag: string }> {
    return this.#run('get', name, () => this.inner.get(name, o))
  }

  getSync(name: string, o?: GetOptions): { bytes: Uint8Array; tag: string } {
    return this.runSync('get', name, () => this.inner.getSync(name, o))
  }

  head(name: string): Promise<{ size: number; tag: string } | undefined> {
    return this.#run('head', name, () => this.inner.head(name))
  }

  exists(name: string): Promise<boolean> {
    return this.#run('exists', name, () => this.inner.exists(name))
  }

  put(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ tag: string }> {
    return this.#run('put', name, () => this.inner.put(name, bytes, o))
  }

  putSync(name: string, bytes: Uint8Array, o?: PutOptions): { tag: string } {
    return this.runSync('put', name, () => this.inner.putSync(name, bytes, o))
  }

  putIfAbsent(name: string, bytes: Uint8Array, o?: PutOptions & { attempt?: Uint8Array }): Promise<{ status: 'created' | 'exists'; tag?: string }> {
    return this.#run('putIfAbsent', name, () => this.inner.putIfAbsent(name, bytes, o))
  }

  putLarge(name: string, parts: AsyncIterable<Uint8Array>, o?: PutOptions): Promise<{ tag: string; size: number }> {
    return this.#run('putLarge', name, () => this.inner.putLarge(name, parts, o))
  }

  list(prefix: string, o?: { after?: string; limit?: number; signal?: AbortSignal }): AsyncIterable<ObjectInfo> {
    return {
      [Symbol.asyncIterator]: () => {
        const fault = this.ask('list', prefix)
        const listed = fault === undefined && this.#failpoints?.active !== true ? this.inner.list(prefix, o) : this.#list(fault, prefix, o)
        return listed[Symbol.asyncIterator]()
      },
    }
  }

  /** One call per listing: it fails at its start, or (`after`) at its end, when the caller has all names but does not know it. */
  async *#list(fault: RootFault | undefined, prefix: string, o?: { after?: string; limit?: number; signal?: AbortSignal }): AsyncIterable<ObjectInfo> {
    const points = this.#failpoints
    const begin = async (): Promise<void> => {
      await fault?.wait?.()
      if (fault?.error !== undefined && fault.when !== 'after') throw toError(fault.error, 'list', prefix)
    }
    if (points?.active !== true) {
      await begin()
      yield* this.inner.list(prefix, o)
    } else {
      // The listing as a whole is the effect: a lost answer loses all of it.
      const found = await points.around(FP.root.list, { name: prefix, method: 'list' }, async () => {
        await begin()
        const all: ObjectInfo[] = []
        for await (const each of this.inner.list(prefix, o)) all.push(each)
        return all
      })
      yield* found
    }
    if (fault?.error !== undefined) throw toError(fault.error, 'list', prefix)
  }

  delete(names: string | readonly string[], o?: { sync?: boolean }): Promise<void> {
    return this.#run('delete', typeof names === 'string' ? names : (names[0] ?? ''), () => this.inner.delete(names, o))
  }

  deletePrefix(prefix: string, o?: { signal?: AbortSignal; onProgress?: (deleted: number) => void }): Promise<{ deleted: number }> {
    return this.#run('deletePrefix', prefix, () => this.inner.deletePrefix(prefix, o))
  }

  async link(from: string, to: string): Promise<{ status: 'created' | 'exists' }> {
    this.#mustHave(FP.root.link, 'hard-link')
    return this.#run('link', to, () => this.inner.link(from, to))
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run('rename', to, () => this.inner.rename(from, to))
  }

  segment(name: string, o: { preallocate: number } | { open: 'read' | 'write' }): Promise<SegmentFile> {
    return this.#run('segment', name, async () => new FaultySegment(this, await this.inner.segment(name, o), name))
  }

  hold(name: string): Promise<HeldObject> {
    return this.#run('hold', name, async () => new FaultyHeld(this, await this.inner.hold(name), name))
  }

  async syncDir(prefix: string): Promise<void> {
    this.#mustHave(FP.root.syncDir, 'sync-dir')
    return this.#run('syncDir', prefix, () => this.inner.syncDir(prefix))
  }

  async probe(): Promise<RootCaps> {
    return this.#lessened((await this.inner.probe?.()) ?? this.inner.caps)
  }

  async sweepTemporary(beforeMs: number, o?: { signal?: AbortSignal; prefix?: string }): Promise<{ deleted: number }> {
    return (await this.inner.sweepTemporary?.(beforeMs, o)) ?? { deleted: 0 }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.inner[Symbol.asyncDispose]()
  }

  /** Notes a call and asks the plan. For segments and held objects. */
  ask(method: RootMethod, name: string): RootFault | undefined {
    const call: RootCall = { n: this.calls.length + 1, method, name }
    this.calls.push(call)
    return this.#plan?.(call)
  }

  #lessened(caps: RootCaps): RootCaps {
    const points = this.#failpoints
    if (points?.active !== true) return caps
    const hardLink = caps.hardLink && !points.enabled(FP.root.link)
    return { ...caps, hardLink, syncDir: caps.syncDir && !points.enabled(FP.root.syncDir) }
  }

  #mustHave(point: FailpointName, feature: string): void {
    const points = this.#failpoints
    if (points?.active === true && points.enabled(point)) throw new UnsupportedRootError(`${this.url} is to do without: ${feature}`, { details: { feature } })
  }

  runSync<T>(method: RootMethod, name: string, effect: () => T): T {
    const fault = this.ask(method, name)
    const run = (): T => {
      if (fault?.error === undefined) return effect()
      if (fault.when === 'after') effect()
      throw toError(fault.error, method, name)
    }
    const points = this.#failpoints
    if (points?.active !== true) return run()
    const point = POINTS[method]
    if (point !== undefined) return points.aroundSync(point, { name, method }, run)
    this.checkAlive(method, name)
    return run()
  }

  #run<T>(method: RootMethod, name: string, effect: () => Promise<T>): Promise<T> {
    const fault = this.ask(method, name)
    const points = this.#failpoints
    if (fault === undefined && points?.active !== true) return effect()
    const run = async (): Promise<T> => {
      await fault?.wait?.()
      if (fault?.error === undefined) return effect()
      if (fault.when === 'after') {
        const result = await effect()
        // What the lost answer would have let the caller close is closed here.
        if (result instanceof FaultySegment || result instanceof FaultyHeld) await result.discard()
      }
      throw toError(fault.error, method, name)
    }
    if (points?.active !== true) return run()
    const point = POINTS[method]
    return point === undefined ? this.alive(run) : points.around(point, { name, method }, run)
  }

  /** A crash point has struck. */
  get isStopped(): boolean {
    return this.#failpoints?.stopped === true
  }

  /** The promise of a call, which a stopped world never settles. For segments and held objects. */
  alive<T>(call: () => Promise<T>): Promise<T> {
    if (this.#failpoints?.active !== true) return call()
    if (this.isStopped) return stopped()
    return call().then(
      (value) => (this.isStopped ? stopped() : value),
      (error: unknown) => (this.isStopped ? stopped() : Promise.reject(error as Error)),
    )
  }

  checkAlive(method: RootMethod, name: string): void {
    if (this.isStopped) throw new FailpointError(`${method} ${name}: the world has stopped`)
  }
}

function stopped(): Promise<never> {
  return new Promise(() => {})
}

class FaultySegment implements SegmentFile {
  readonly #root: FaultyRoot
  readonly #inner: SegmentFile
  readonly #name: string
  #syncFailed: Error | undefined

  constructor(root: FaultyRoot, inner: SegmentFile, name: string) {
    this.#root = root
    this.#inner = inner
    this.#name = name
  }

  get size(): number {
    return this.#inner.size
  }

  read(at: number, into: Uint8Array): Promise<number> {
    const fault = this.#root.ask('segment.read', this.#name)
    if (fault === undefined) return this.#root.alive(() => this.#inner.read(at, into))
    return this.#root.alive(async () => {
      await fault.wait?.()
      if (fault.error !== undefined) throw toError(fault.error, 'segment.read', this.#name)
      return this.#inner.read(at, into)
    })
  }

  readSync(at: number, into: Uint8Array): number {
    return this.#root.runSync('segment.read', this.#name, () => this.#inner.readSync(at, into))
  }

  write(at: number, bytes: Uint8Array, done: (error: Error | null) => void): void {
    this.#callback('segment.write', done, (then, half) => this.#inner.write(at, half ? bytes.subarray(0, bytes.length >>> 1) : bytes, then))
  }

  writeSync(at: number, bytes: Uint8Array): void {
    const fault = this.#root.ask('segment.write', this.#name)
    this.#root.checkAlive('segment.write', this.#name)
    if (fault?.error === undefined) return this.#inner.writeSync(at, bytes)
    if (fault.when === 'half') this.#inner.writeSync(at, bytes.subarray(0, bytes.length >>> 1))
    else if (fault.when === 'after') this.#inner.writeSync(at, bytes)
    throw toError(fault.error, 'segment.write', this.#name)
  }

  datasync(done: (error: Error | null) => void): void {
    const failed = this.#syncFailed
    if (failed !== undefined) return queueMicrotask(() => done(failed))
    this.#callback(
      'segment.datasync',
      (error) => {
        if (error !== null) this.#syncFailed = error
        done(error)
      },
      (then) => this.#inner.datasync(then),
    )
  }

  datasyncSync(): void {
    if (this.#syncFailed !== undefined) throw this.#syncFailed
    try {
      this.#root.runSync('segment.datasync', this.#name, () => this.#inner.datasyncSync())
    } catch (error) {
      this.#syncFailed = error as Error
      throw error
    }
  }

  truncate(size: number): Promise<void> {
    const fault = this.#root.ask('segment.truncate', this.#name)
    return this.#root.alive(async () => {
      await fault?.wait?.()
      if (fault?.error === undefined || fault.when === 'after') await this.#inner.truncate(size)
      if (fault?.error !== undefined) throw toError(fault.error, 'segment.truncate', this.#name)
    })
  }

  close(): Promise<void> {
    const fault = this.#root.ask('segment.close', this.#name)
    if (fault === undefined) return this.#root.alive(() => this.#inner.close())
    return this.#root.alive(async () => {
      await fault.wait?.()
      await this.#inner.close()
      if (fault.error !== undefined) throw toError(fault.error, 'segment.close', this.#name)
    })
  }

  closeSync(): void {
    const fault = this.#root.ask('segment.close', this.#name)
    this.#root.checkAlive('segment.close', this.#name)
    this.#inner.closeSync()
    if (fault?.error !== undefined) throw toError(fault.error, 'segment.close', this.#name)
  }

  discard(): Promise<void> {
    return this.#inner.close()
  }

  #callback(method: RootMethod, done: (error: Error | null) => void, call: (then: (error: Error | null) => void, half: boolean) => void): void {
    const fault = this.#root.ask(method, this.#name)
    const tell = (error: Error | null): void => {
      if (!this.#root.isStopped) done(error)
    }
    const go = (): void => {
      if (this.#root.isStopped) return
      if (fault?.error === undefined) return call(tell, false)
      const failed = toError(fault.error, method, this.#name)
      if (fault.when === 'after' || fault.when === 'half') return call(() => tell(failed), fault.when === 'half')
      return queueMicrotask(() => tell(failed))
    }
    if (fault?.wait === undefined) go()
    else fault.wait().then(go, (error: unknown) => tell(error as Error))
  }
}

class FaultyHeld implements HeldObject {
  readonly #root: FaultyRoot
  readonly #inner: HeldObject
  readonly #name: string

  constructor(root: FaultyRoot, inner: HeldObject, name: string) {
    this.#root = root
    this.#inner = inner
    this.#name = name
  }

  isCurrent(): boolean {
    return this.#root.runSync('isCurrent', this.#name, () => this.#inner.isCurrent())
  }

  stat(): FileStat | undefined {
    return this.#inner.stat()
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  closeSync(): void {
    this.#inner.closeSync()
  }

  discard(): Promise<void> {
    return this.#inner.close()
  }
}

function toError(error: StorageErrorClass | Error, op: string, name: string): Error {
  return typeof error === 'string' ? new StorageError(`${op} ${name}: ${error} (fault)`, { details: { op, name, class: error } }) : error
}
