// ship/verified-files.ts: which files of a replica's root have lately been seen to be what their names say, so that a base need not read them again
// (docs/decisions/0028-verified-files.md).
//
//   staging/base/verified    sealed JSON: version, the round of rebuilds, and of each file `<unix ms> <round> <tag>` under its name
//
// A file is noted when it was stored under its hash, synced, or read and hashed, with the tag that the storage gives these very bytes; a note is worth something
// for a day. Whoever doubts the disk believes notes of this round alone: those made since the rebuild that is under way was begun. Invariant: a note that is lost costs a read, never more; one that is there was true when it was made, and the file has not been written since.

import { isContentName, STAGING_PREFIX } from '../format/index.ts'
import { decodeSealed, encodeSealed } from '../log/index.ts'
import { getIfThere, type Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import { BASE_KEPT_MS } from './host-base.ts'

export const VERIFIED_NAME: string = `${STAGING_PREFIX}base/verified`
const VERSION = 2
/** Bytes of files between two writes of the notes; the rest is written at the end. */
const SAVE_BYTES = 64 * 1024 * 1024

interface Note {
  readonly atMs: number
  readonly round: number
  readonly tag: string
}

export class VerifiedFiles {
  readonly #root: Root
  readonly #world: Pick<World, 'clock' | 'logger'>
  #notes: Map<string, Note> | undefined
  #loading: Promise<Map<string, Note>> | undefined
  #sinceSave = 0
  #round = 0
  /** How often something was withdrawn, and up to which of these times it is so on the disk too. */
  #withdrawals = 0
  #settled = 0
  #saving: Promise<void> = Promise.resolve()

  constructor(root: Root, world: Pick<World, 'clock' | 'logger'>) {
    this.#root = root
    this.#world = world
  }

  /** The file was seen whole within a day, and has not been written since. @param tag  what the storage says of it now @param doubts  in this round */
  async has(name: string, tag: string, doubts: boolean): Promise<boolean> {
    const note = (this.#notes ?? (await this.#load())).get(name)
    return note !== undefined && note.tag === tag && (!doubts || note.round === this.#round) && this.#isBelieved(note)
  }

  /** Another rebuild begins: no note of before is of its round, after a restart either. @throws StorageError */
  async renew(): Promise<void> {
    const notes = this.#notes ?? (await this.#load())
    this.#round++
    if (notes.size > 0) await this.#write(notes)
  }

  /** The bytes under the name are those of the name, durably. */
  async add(name: string, tag: string, bytes: number): Promise<void> {
    const notes = this.#notes ?? (await this.#load())
    notes.set(name, { atMs: this.#world.clock.nowMs(), round: this.#round, tag })
    this.#sinceSave += Math.max(1, bytes)
    if (this.#sinceSave >= SAVE_BYTES) void this.save()
  }

  /** These are not believed any more, after a restart either. @throws StorageError */
  async drop(names: Iterable<string>): Promise<void> {
    const notes = this.#notes ?? (await this.#load())
    for (const name of names) if (notes.delete(name)) this.#withdrawals++
    if (this.#withdrawals > this.#settled) await this.#write(notes)
  }

  /** Nothing here is believed any more, after a restart either. @throws StorageError */
  async clear(): Promise<void> {
    await this.#load()
    this.#notes!.clear()
    this.#sinceSave = 0
    await this.#saving
    await this.#root.delete(VERIFIED_NAME)
  }

  /** What is known survives a restart. A failure is told, no more: it costs a read. */
  save(): Promise<void> {
    const notes = this.#notes
    if (notes === undefined || this.#sinceSave === 0) return this.#saving
    return this.#write(notes).catch((cause: unknown) => this.#world.logger.log({ level: 'warn', code: 'replica.notesNotSaved', cause }))
  }

  #write(notes: Map<string, Note>): Promise<void> {
    this.#sinceSave = 0
    const fields: Record<string, string | number> = { version: VERSION, round: this.#round }
    for (const [name, note] of notes) {
      if (this.#isBelieved(note)) fields[name] = `${note.atMs} ${note.round} ${note.tag}`
      else notes.delete(name)
    }
    const bytes = encodeSealed(fields)
    const withdrawals = this.#withdrawals
    const written = this.#saving.then(async () => {
      await this.#root.put(VERIFIED_NAME, bytes)
      this.#settled = withdrawals
    })
    this.#saving = written.catch(() => undefined)
    return written
  }

  /** As long as the files of a base that was cut off are kept: bits turn over in files that nobody writes. */
  #isBelieved({ atMs }: Note): boolean {
    const ageMs = this.#world.clock.nowMs() - atMs
    return ageMs >= 0 && ageMs <= BASE_KEPT_MS
  }

  #load(): Promise<Map<string, Note>> {
    this.#loading ??= this.#read().then(
      (notes) => (this.#notes = notes),
      (error: unknown) => {
        // The next one may succeed.
        this.#loading = undefined
        throw error
      },
    )
    return this.#loading
  }

  async #read(): Promise<Map<string, Note>> {
    const notes = new Map<string, Note>()
    const bytes = await getIfThere(this.#root, VERIFIED_NAME)
    const fields = bytes === undefined ? undefined : decodeSealed(bytes)
    const round = fields?.['round']
    if (fields?.['version'] !== VERSION || typeof round !== 'number') return notes
    this.#round = round
    for (const [name, value] of Object.entries(fields)) {
      const [, atMs, noted, tag] = (typeof value === 'string' && isContentName(name) && /^(\d+) (\d+) (.*)$/.exec(value)) || []
      if (tag !== undefined) notes.set(name, { atMs: Number(atMs), round: Number(noted), tag })
    }
    return notes
  }
}
