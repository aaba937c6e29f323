// runtime/world.ts: everything that could differ between two runs, as one injected object (core.md section 10).
//
// Invariant: no module outside runtime/ and cli/ reads a clock, draws randomness, sets a timer or touches a file system by itself.

import type { FailpointName } from './failpoint-names.ts'

declare const unixMs: unique symbol
declare const monoMs: unique symbol
/** Milliseconds since 1970, wall clock. */
export type UnixMs = number & { readonly [unixMs]: true }
/** Milliseconds on a clock that never goes back; comparable only within one process. */
export type MonoMs = number & { readonly [monoMs]: true }

export interface TimerHandle {
  readonly id: unknown
}

export interface LogEvent {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly code: string
  readonly [field: string]: unknown
}

export interface WorkerTask {
  /** Name in the table of worker tasks (table/worker-tasks.ts). */
  readonly task: string
  readonly input: unknown
}

export interface FileStat {
  readonly size: number
  /** Inode and device as one string: equal exactly for the same file. */
  readonly identity: string
  readonly links: number
  readonly isDirectory: boolean
  readonly mtimeMs: number
}

/** One open file. Callback forms exist because the log's hot path must not pay for promises. */
export interface FileHandle {
  read(at: number, into: Uint8Array): Promise<number>
  readSync(at: number, into: Uint8Array): number
  /** Writes all bytes at `at`, or fails; a short write is completed or reported as an error. `bytes` must not change before `done`. */
  write(at: number, bytes: Uint8Array, done: (error: Error | null) => void): void
  writeSync(at: number, bytes: Uint8Array): void
  datasync(done: (error: Error | null) => void): void
  datasyncSync(): void
  sync(): Promise<void>
  truncate(size: number): Promise<void>
  truncateSync(size: number): void
  stat(): Promise<FileStat>
  statSync(): FileStat
  close(): Promise<void>
  closeSync(): void
}

/** What DirRoot and the LOCK need of a file system. Paths are absolute, `/`-separated. Errors carry `code` (errno name). */
export interface FileSystem {
  /** 'r' read, 'r+' read and write an existing file, 'wx' create new for reading and writing (EEXIST when there). */
  open(path: string, flags: 'r' | 'r+' | 'wx'): Promise<FileHandle>
  openSync(path: string, flags: 'r' | 'r+' | 'wx'): FileHandle
  stat(path: string): Promise<FileStat>
  statSync(path: string): FileStat
  /** Names in the directory with whether each is a directory, in no particular order. */
  readdir(path: string): Promise<readonly { readonly name: string; readonly isDirectory: boolean }[]>
  /** Creates one directory; EEXIST when there. */
  mkdir(path: string): Promise<void>
  mkdirSync(path: string): void
  rmdir(path: string): Promise<void>
  link(from: string, to: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  renameSync(from: string, to: string): void
  unlink(path: string): Promise<void>
  unlinkSync(path: string): void
  /** fsync of a directory opened read-only; throws with code ENOTSUP where the platform refuses. */
  syncDir(path: string): Promise<void>
  syncDirSync(path: string): void
}

export interface Host {
  readonly name: string
  readonly pid: number
  readonly bootId: string
  readonly processStartTime: string
  /** Whether that process runs: true, false, or undefined when it cannot be told. */
  isAlive(pid: number, startTime: string): boolean | undefined
}

/** What sites see of failpoints. Each site looks at `active` first: everything behind it may be slow. */
export interface Failpoints {
  /** True when any failpoint is set: one field load is all that an idle site costs. */
  readonly active: boolean
  /** The world was stopped by a crash point: nothing that waits for a site goes on. */
  readonly stopped: boolean
  hit(name: FailpointName, context?: Readonly<Record<string, unknown>>): Promise<void>
  hitSync(name: FailpointName, context?: Readonly<Record<string, unknown>>): void
  /** For a site that is one durable effect: it may fail before the effect, or after it, when the answer is lost. */
  around<T>(name: FailpointName, context: Readonly<Record<string, unknown>>, effect: () => Promise<T>): Promise<T>
  aroundSync<T>(name: FailpointName, context: Readonly<Record<string, unknown>>, effect: () => T): T
  /** A seam of behaviour is switched on: the site acts as a lesser storage would make it. */
  enabled(name: FailpointName, context?: Readonly<Record<string, unknown>>): boolean
}

export interface Workers {
  /** Number of threads; 0 = tasks run inline on this thread. */
  readonly threads: number
  run<T>(task: WorkerTask, o?: { transfer?: readonly ArrayBuffer[]; signal?: AbortSignal }): Promise<T>
  close(): Promise<void>
}

export interface NetworkAddress {
  /** A name, or an address without brackets. */
  readonly host: string
  /** 0, to listen: one that is free. */
  readonly port: number
}

/** PEM. A listener needs `cert` and `key`; `ca`: what the other side's certificate is checked against, and then both sides must show one. */
export interface TlsOptions {
  readonly cert?: string | Uint8Array
  readonly key?: string | Uint8Array
  readonly ca?: string | Uint8Array
  /** Name that the listener's certificate must be for; default: the host that is connected to. */
  readonly servername?: string
}

/** One connection. An open one keeps the process alive. */
export interface ByteStream {
  /** Address of the other side, for messages. */
  readonly peer: string
  /** What arrives, iterated once; pulling it is what lets more arrive. Ends when the other side has ended, throws what broke the connection. */
  readonly chunks: AsyncIterable<Uint8Array>
  /** Writes the parts one after the other; `done` once the system has taken them, with an error when it never will. They must not change before. */
  write(parts: readonly Uint8Array[], done: (error: Error | null) => void): void
  /** Nothing more is written; what was is sent. */
  end(): void
  /** At once, whatever is on its way. */
  destroy(): void
  /** Resolves when nothing of it is open any more; never rejects. */
  readonly closed: Promise<void>
}

export interface Listener {
  /** With the port that was settled. */
  readonly address: NetworkAddress
  /** Takes no more connections; those there are stay. */
  close(): Promise<void>
}

/** Connections of bytes between processes. Errors are those of the system, with its `code`. */
export interface Network {
  /** Rejects with the signal's reason when aborted. */
  connect(address: NetworkAddress, o: { readonly signal: AbortSignal; readonly tls?: TlsOptions }): Promise<ByteStream>
  listen(
    address: NetworkAddress,
    o: {
      readonly accept: (stream: ByteStream) => void
      /** A connection did not get through the handshake of TLS. */
      readonly refused?: (error: Error) => void
      readonly tls?: TlsOptions
      readonly handshakeMs?: number
    },
  ): Promise<Listener>
}

export interface World {
  readonly clock: { nowMs(): UnixMs; monoMs(): MonoMs }
  /** Timers never keep a process alive. */
  readonly timers: {
    set(ms: number, fn: () => void): TimerHandle
    clear(handle: TimerHandle): void
    /** Rejects with the signal's reason when aborted. `keepAlive`: a caller waits for it in the foreground (open retry, back-off), so the process stays for it. */
    sleep(ms: number, signal?: AbortSignal, keepAlive?: boolean): Promise<void>
  }
  readonly random: { bytes(n: number): Uint8Array; u32(): number }
  readonly logger: { log(event: LogEvent): void }
  readonly failpoints: Failpoints
  readonly workers: Workers
  readonly network: Network
  readonly files: FileSystem
  readonly host: Host
  readonly env: Readonly<Record<string, string | undefined>>
}
