// Model of the object log (log.md section 4; bindings/log/slot-writer.ts, slot-chain.ts, floor.ts, object-trim.ts): writers that create slots if absent and may
// stand still anywhere, lost answers, requests that arrive late, trimmers, freed names, readers.
//
// One step = one request as the store performs it. The true log is what was created at the name that was next; everything else that was created is void.
import type { Model } from './explore.ts'

/** The rules; each can be left out, to see that the checker needs it. */
export interface SlotRules {
  /** A writer reads the floor after it won, before it acknowledges. */
  readonly writerReadsFloor: boolean
  /** A reader reads the floor after the slots, before it believes them. */
  readonly readerReadsFloor: boolean
  /** Not before the slots. */
  readonly floorAfterSlots: boolean
  /** Whether a taken name is ours is told by its attempt id. */
  readonly attemptIds: boolean
  /** A floor names the slots that it took out of the log. */
  readonly floorNames: boolean
  /** The floor is raised before a slot below it goes. */
  readonly raisesFirst: boolean
  /** A floor is created if absent under the next number, never put over another. */
  readonly floorsIfAbsent: boolean
  /** A write of unknown outcome is tried again under its own name before any other. */
  readonly settles: boolean
  /** Slots below the floor become tombstones, and names are freed only long after. Without, a name is free at once. */
  readonly tombstones: boolean
  /** Names are freed at all. */
  readonly frees: boolean
}

export const SLOT_RULES: SlotRules = {
  writerReadsFloor: true,
  readerReadsFloor: true,
  floorAfterSlots: true,
  attemptIds: true,
  floorNames: true,
  raisesFirst: true,
  floorsIfAbsent: true,
  settles: true,
  tombstones: true,
  frees: true,
}

export interface SlotBounds {
  readonly title: string
  /** Per writer: LSNs of each slot that it makes, and how many commits it has. */
  readonly writers: readonly { readonly count: number; readonly commits: number }[]
  readonly readers: number
  readonly trimmers: number
  readonly trims: number
  /** Answers that are lost; the request may have been performed, may be performed later, or never. */
  readonly lost: number
  readonly kills: number
}

interface Slot {
  /** <writer><commit>.<attempt>; '' = tombstone. */
  id: string
  count: number
  /** The slot before, as its writer knew it: the digest in the header. */
  before: string
}

interface Handle {
  phase: string
  /** Last LSN believed, and the slot that holds it. */
  head: number
  last: string
  /** Read, not believed yet. */
  seen: { first: number; id: string; count: number; before: string }[]
  stop: '' | 'none' | 'tombstone'
  /** Highest floor known. */
  k: number
  /** Commit under way, attempts of it. */
  commit: number
  attempt: number
  /** Name that its slot competes for. */
  first: number
  /** Some request of this attempt has no answer. */
  unknown: boolean
  /** Trims left; names a trimmer has yet to bury or free; its next floor. */
  left: number
  list: number[]
  tail: number
}

export interface SlotState {
  /** By first LSN. */
  slots: Record<string, Slot>
  log: { first: number; id: string; count: number }[]
  floors: { tail: number; last: string; took: string[] }[]
  late: { first: number; slot: Slot }[]
  handles: Handle[]
  acked: string[]
  lostLeft: number
  killsLeft: number
  wrong: string
}

type Effect = (s: SlotState, h: Handle) => void

export function slotModel(bounds: SlotBounds, rules: SlotRules = SLOT_RULES): Model<SlotState> {
  const { writers, readers, trimmers } = bounds
  const kinds = [
    ...writers.map(() => 'writer' as const),
    ...Array.from({ length: readers }, () => 'reader' as const),
    ...Array.from({ length: trimmers }, () => 'trimmer' as const),
  ]
  return {
    name: `object log (${bounds.title})`,
    start: {
      slots: {},
      log: [],
      floors: [],
      late: [],
      handles: kinds.map((kind) => ({ ...handle(), left: kind === 'trimmer' ? bounds.trims : kind === 'reader' ? 1 : 0 })),
      acked: [],
      lostLeft: bounds.lost,
      killsLeft: bounds.kills,
      wrong: '',
    },
    steps(state, step) {
      state.handles.forEach((h, i) => {
        const kind = kinds[i]!
        const who = kind === 'writer' ? 'AB'[i]! : `${kind} ${i}`
        const moves = kind === 'writer' ? writerMoves(state, h, i, writers[i]!, rules) : kind === 'reader' ? readerMoves(h, rules) : trimmerMoves(h, rules)
        for (const [label, effect] of moves) step(`${who} ${label}`, (draft) => effect(draft, draft.handles[i]!))
        if (state.killsLeft > 0 && kind === 'writer' && h.phase !== 'idle' && h.phase !== 'end') {
          step(`${who} is killed (before ${h.phase})`, (draft) => {
            draft.killsLeft--
            draft.handles[i] = { ...handle(), phase: 'end' }
          })
        }
      })
      state.late.forEach(({ first, slot }, i) => {
        step(`a late request puts ${slot.id} at ${first}`, (draft) => {
          draft.late.splice(i, 1)
          create(draft, first, slot)
        })
      })
    },
    check(state) {
      if (state.wrong !== '') return state.wrong
      const commits = new Map<string, number>()
      for (const { id } of state.log) commits.set(commitOf(id), (commits.get(commitOf(id)) ?? 0) + 1)
      for (const [commit, times] of commits) if (times > 1) return `commit ${commit} is in the log ${times} times`
      for (const commit of state.acked) if (!commits.has(commit)) return `commit ${commit} is acknowledged and not in the log`
      return undefined
    },
  }
}

function handle(): Handle {
  return { phase: 'idle', head: 0, last: '', seen: [], stop: '', k: 0, commit: 0, attempt: 0, first: 0, unknown: false, left: 0, list: [], tail: 0 }
}

function commitOf(id: string): string {
  return id.slice(0, id.indexOf('.'))
}

// ---- the store ----

function next(s: SlotState): number {
  const last = s.log.at(-1)
  return last === undefined ? 1 : last.first + last.count
}

function create(s: SlotState, first: number, slot: Slot): boolean {
  if (s.slots[first] !== undefined) return false
  s.slots[first] = slot
  if (first === next(s)) s.log.push({ first, id: slot.id, count: slot.count })
  return true
}

// ---- a writer ----

function* writerMoves(s: SlotState, h: Handle, i: number, w: SlotBounds['writers'][number], rules: SlotRules): Generator<[string, Effect], void> {
  const id = `${'AB'[i]}${h.commit}.${h.attempt}`
  switch (h.phase) {
    case 'idle':
      if (h.commit < w.commits) {
        yield [
          `begins commit ${'AB'[i]}${h.commit + 1}`,
          (_, me) => {
            me.commit++
            me.attempt = 0
            startAttempt(me)
          },
        ]
      }
      return
    case 'put': {
      // createOnce
      const slot: Slot = { id, count: w.count, before: h.last }
      yield [
        `puts ${id} at ${h.first}`,
        (d, me) => {
          if (create(d, me.first, slot)) won(d, me, id, rules)
          else me.phase = me.unknown ? 'whose' : 'look'
          if (me.phase === 'look') startLook(me, rules)
        },
      ]
      if (s.lostLeft > 0) {
        yield [
          `puts ${id} at ${h.first}, and hears nothing`,
          (d, me) => {
            d.lostLeft--
            me.unknown = true
            d.late.push({ first: me.first, slot })
            if (!rules.settles) {
              me.unknown = false
              startLook(me, rules)
            }
          },
        ]
      }
      return
    }
    case 'whose': // createOnce: exists, behind an attempt of unknown outcome
      yield [
        `reads whose ${h.first} is`,
        (d, me) => {
          const found = d.slots[me.first]
          if (found === undefined) me.phase = 'put'
          else if (rules.attemptIds && found.id === id) won(d, me, id, rules)
          else startLook(me, rules)
        },
      ]
      return
    case 'floor': // SlotWriter.#settle: floors.read
      yield [
        `reads FLOOR.${h.k + 1}`,
        (d, me) => {
          if (d.floors[me.k] !== undefined) return void me.k++
          const floor = d.floors[me.k - 1]
          if (floor !== undefined && floor.tail >= me.first && !(rules.floorNames && tookOut(d, me.k, id))) startLook(me, rules)
          else acknowledge(d, me, id, w.count)
        },
      ]
      return
    case 'look':
    case 'lookFloor':
      yield* lookMoves(h, rules, (d, me) => {
        // The winner is known: ours after all, trimmed with us, or another's.
        const mine = d.log.some((entry) => entry.id === id) && (me.last === id || d.slots[me.first]?.id === id || (rules.floorNames && tookOut(d, me.k, id)))
        if (rules.attemptIds && mine && me.head >= me.first) acknowledge(d, me, id, 0)
        else if (me.attempt >= 3) me.phase = 'end' // publishRetries
        else {
          me.attempt++
          startAttempt(me)
        }
      })
  }
}

function startAttempt(me: Handle): void {
  me.phase = 'put'
  me.first = me.head + 1
  me.unknown = false
}

function won(d: SlotState, me: Handle, id: string, rules: SlotRules): void {
  if (rules.writerReadsFloor) me.phase = 'floor'
  else acknowledge(d, me, id, d.slots[me.first]!.count)
}

/** `count` > 0: its slot is the next of its chain. */
function acknowledge(d: SlotState, me: Handle, id: string, count: number): void {
  d.acked.push(commitOf(id))
  if (count > 0 && me.head === me.first - 1) {
    me.head += count
    me.last = id
  }
  me.phase = 'idle'
  me.unknown = false
}

function tookOut(d: SlotState, k: number, id: string): boolean {
  return d.floors.slice(0, k).some(({ took }) => took.includes(id))
}

// ---- SlotChain.extend ----

function startLook(me: Handle, rules: SlotRules): void {
  me.phase = rules.floorAfterSlots ? 'look' : 'lookFloor'
  me.seen = []
  me.stop = ''
}

function* lookMoves(h: Handle, rules: SlotRules, done: Effect): Generator<[string, Effect], void> {
  const at = h.seen.length === 0 ? h.head + 1 : h.seen.at(-1)!.first + h.seen.at(-1)!.count
  if (h.phase === 'look') {
    yield [
      `gets slot ${at}`,
      (d, me) => {
        const slot = d.slots[at]
        if (slot !== undefined && slot.id !== '') me.seen.push({ first: at, ...slot })
        else {
          me.stop = slot === undefined ? 'none' : 'tombstone'
          if (!rules.readerReadsFloor || !rules.floorAfterSlots) believe(d, me, done, rules)
          else me.phase = 'lookFloor'
        }
      },
    ]
    return
  }
  yield [
    `reads FLOOR.${h.k + 1}`,
    (d, me) => {
      if (d.floors[me.k] !== undefined) return void me.k++
      const floor = d.floors[me.k - 1]
      if (floor !== undefined && floor.tail > me.head) {
        me.head = floor.tail
        me.last = floor.last
        startLook(me, rules)
        if (!rules.floorAfterSlots) me.phase = 'look'
      } else if (rules.floorAfterSlots) believe(d, me, done, rules)
      else me.phase = 'look'
    },
  ]
}

function believe(d: SlotState, me: Handle, done: Effect, rules: SlotRules): void {
  for (const { first, id, count, before } of me.seen) {
    if (!d.log.some((entry) => entry.first === first && entry.id === id)) d.wrong = `a void slot is believed: ${id} at ${first}`
    else if (before !== me.last) d.wrong = `a digest does not follow at ${first}`
    me.head = first + count - 1
    me.last = id
  }
  if (me.stop === 'tombstone') {
    // Above every floor that was read: with the floor read afterwards that is damage.
    if (rules.readerReadsFloor && rules.floorAfterSlots) d.wrong = 'a tombstone above the floor'
    me.phase = 'end'
    return
  }
  me.seen = []
  me.stop = ''
  done(d, me)
}

// ---- readers and trimmers ----

function* readerMoves(h: Handle, rules: SlotRules): Generator<[string, Effect], void> {
  if (h.phase === 'idle') {
    if (h.left > 0) {
      yield [
        'looks for new slots',
        (_, me) => {
          me.left--
          startLook(me, rules)
        },
      ]
    }
    return
  }
  if (h.phase === 'end') return
  yield* lookMoves(h, rules, (_, me) => {
    me.phase = 'idle'
  })
}

function* trimmerMoves(h: Handle, rules: SlotRules): Generator<[string, Effect], void> {
  switch (h.phase) {
    case 'idle':
      if (h.left > 0) {
        yield [
          'chooses T: all that it knows of',
          (d, me) => {
            // What it knows is the log up to now; that its reading is right is what readers show.
            me.tail = next(d) - 1
            me.last = d.log.at(-1)?.id ?? ''
            me.k = d.floors.length
            if (me.tail <= (d.floors.at(-1)?.tail ?? 0)) return
            me.left--
            me.list = Object.keys(d.slots)
              .map(Number)
              .filter((first) => first <= me.tail)
            me.phase = rules.raisesFirst ? 'raise' : 'bury'
          },
        ]
      }
      return
    case 'raise': // Floors.raise
      yield [
        `raises the floor to ${h.tail}`,
        (d, me) => {
          const below = rules.floorsIfAbsent ? (d.floors[me.k - 1]?.tail ?? 0) : 0
          const took = d.log.flatMap(({ first, id }) => (first > below && first <= me.tail ? [id] : []))
          const floor = { tail: me.tail, last: me.last, took }
          if (!rules.floorsIfAbsent) d.floors = [floor]
          else if (d.floors[me.k] === undefined) d.floors.push(floor)
          else {
            me.k++
            if (d.floors[me.k - 1]!.tail >= me.tail) me.phase = 'idle'
            return
          }
          me.phase = me.list.length > 0 && rules.raisesFirst ? 'bury' : 'idle'
        },
      ]
      return
    case 'bury': // object-trim.ts
      yield [
        `${rules.tombstones ? 'buries' : 'deletes'} ${h.list[0]}`,
        (d, me) => {
          const first = me.list[0]!
          if (rules.tombstones) d.slots[first] = { id: '', count: 0, before: '' }
          else delete d.slots[first]
          me.list.shift()
          if (me.list.length === 0) me.phase = rules.raisesFirst ? 'free' : 'raise'
        },
      ]
      return
    case 'free': // days later
      if (!rules.frees || !rules.tombstones) return
      yield [
        'frees the names of tombstones',
        (d, me) => {
          const floor = d.floors.at(-1)?.tail ?? 0
          for (const [first, slot] of Object.entries(d.slots)) if (slot.id === '' && Number(first) <= floor) delete d.slots[first]
          me.phase = 'idle'
        },
      ]
  }
}
