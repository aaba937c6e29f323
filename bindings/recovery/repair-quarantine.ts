// recovery/repair-quarantine.ts: quarantine/<time>/: the originals of everything that repair changes, each action with a note that says what, why and where from.
//
// The note is put before anything is done and is to repair what INTENT is to a write: a repair that was cut short finds it and goes on under the same id,
// which is also that of the audit record; `<note>.audited` closes it.
// Invariant: nothing here is ever overwritten: a copy that is there is the original, whatever stands under its old name by now.
import { isNotFound, type Root } from '../root/index.ts'
import { newUlid, type World } from '../runtime/index.ts'

export const QUARANTINE_PREFIX = 'quarantine/'
const NOTE = /^(quarantine\/[^/]+)\/(\d{4})-([a-z-]+)\.note\.json$/
const AUDITED = '.audited'

export interface Note {
  /** ULID: of the action and of its audit record. */
  readonly id: string
  readonly kind: string
  /** What was done, for a person. */
  readonly what: string
  readonly why: string
  /** What it is about: the name of a file. */
  readonly from: string
  /** Names of the originals; each lies below the note's folder under the same name. */
  readonly originals: readonly string[]
  readonly at: string
  /** kind cut-log: the last LSN kept, its digest, and the LOCK of the repair: who wrote under a higher epoch wrote after it. */
  readonly cut?: { readonly lsn: number; readonly digest: string; readonly lock: number }
}

export interface KeptNote extends Note {
  /** Object name of the note. */
  readonly name: string
  readonly folder: string
}

/** What a note says beside what it gets from here. */
export type NewNote = Omit<Note, 'id' | 'at'>

export class Quarantine {
  readonly #root: Root
  readonly #world: World
  readonly #open: KeptNote[]
  #folder: string | undefined
  #ordinal = 0

  private constructor(root: Root, world: World, open: KeptNote[]) {
    this.#root = root
    this.#world = world
    this.#open = open
  }

  static async of(root: Root, world: World): Promise<Quarantine> {
    return new Quarantine(root, world, await openNotes(root))
  }

  /** Notes without an audit record: of a repair that did not end. */
  get open(): readonly KeptNote[] {
    return this.#open
  }

  openNote(kind: string, from?: string): KeptNote | undefined {
    return this.#open.find((note) => note.kind === kind && (from === undefined || note.from === from))
  }

  /** The note of this action: that of the repair that was cut short, or a new one, durable. */
  async note(given: NewNote, o: { readonly isResumed?: boolean } = {}): Promise<KeptNote> {
    const before = o.isResumed === false ? undefined : this.openNote(given.kind, given.from)
    if (before !== undefined) return before
    const folder = (this.#folder ??= await this.#newFolder())
    const name = `${folder}/${String(++this.#ordinal).padStart(4, '0')}-${given.kind}.note.json`
    const note: Note = { id: newUlid(this.#world), at: new Date(this.#world.clock.nowMs()).toISOString(), ...given }
    await this.#root.put(name, new TextEncoder().encode(`${JSON.stringify(note, undefined, 2)}\n`))
    const kept = { ...note, name, folder }
    this.#open.push(kept)
    return kept
  }

  /** Copies the originals, each under its own name below the note. One that is gone was taken away after its copy was made. */
  async keep(note: KeptNote, o: { readonly inPlace?: readonly string[] } = {}): Promise<void> {
    for (const name of note.originals) {
      const target = `${note.folder}/${name}`
      if ((await this.#root.head(target)) !== undefined) continue
      // What is changed in place needs a copy of its bytes; what is replaced or taken away only another name.
      const isShared = this.#root.caps.hardLink && o.inPlace?.includes(name) !== true
      try {
        if (isShared) await this.#root.link(name, target)
        else await this.#root.putIfAbsent(target, (await this.#root.get(name)).bytes)
      } catch (error) {
        if (!isNotFound(error)) throw error
      }
    }
  }

  /** The audit record of the note is in the log. */
  async close(note: KeptNote, lsn: bigint): Promise<void> {
    await this.#root.put(`${note.name}${AUDITED}`, new TextEncoder().encode(`${JSON.stringify({ id: note.id, lsn: String(lsn) })}\n`))
    this.#open.splice(this.#open.indexOf(note), 1)
  }

  async #newFolder(): Promise<string> {
    const time = new Date(this.#world.clock.nowMs()).toISOString().replaceAll(/[-:.]/g, '')
    for (let n = 0; ; n++) {
      const folder = `${QUARANTINE_PREFIX}${time}${n === 0 ? '' : `-${n}`}`
      if (!(await this.#root.exists(folder))) return folder
    }
  }
}

async function openNotes(root: Root): Promise<KeptNote[]> {
  const names = new Set<string>()
  const closed = new Set<string>()
  for await (const { name } of root.list(QUARANTINE_PREFIX)) {
    if (NOTE.test(name)) names.add(name)
    else if (name.endsWith(AUDITED)) closed.add(name.slice(0, -AUDITED.length))
  }
  const open: KeptNote[] = []
  for (const name of names) {
    if (closed.has(name)) continue
    const note = parsed((await root.get(name)).bytes)
    if (note !== undefined) open.push({ ...note, name, folder: NOTE.exec(name)![1]! })
  }
  return open
}

/** What a name in quarantine is: a note, the mark that its audit record is in the log, or (undefined) an original. */
export async function isNote(root: Root, name: string): Promise<Note | 'audited' | undefined> {
  if (name.endsWith(AUDITED)) return 'audited'
  return NOTE.test(name) ? parsed((await root.get(name)).bytes) : undefined
}

/** undefined: no note of ours; it is left alone. */
function parsed(bytes: Uint8Array): Note | undefined {
  try {
    const note = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as Partial<Note>
    const isNote = typeof note.id === 'string' && typeof note.kind === 'string' && typeof note.from === 'string' && Array.isArray(note.originals)
    return isNote ? (note as Note) : undefined
  } catch {
    return undefined
  }
}
