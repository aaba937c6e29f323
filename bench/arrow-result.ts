// bench/arrow-result.ts: three columns of an engine that has no Arrow of its own, made into an Arrow table as cheaply as a user could.
import { arrow } from './arrow.ts'
import { type ArrowResult, dictionaryOf } from './contender.ts'

export function arrowResult(origin: readonly string[], delay: Int16Array, distance: Int16Array): ArrowResult {
  const { makeData, makeVector, Table, Dictionary, Utf8, Uint16, Int16, vectorFromArray } = arrow
  const { codes, names } = dictionaryOf(origin)
  const dictionary = vectorFromArray(names, new Utf8())
  const type = new Dictionary(new Utf8(), new Uint16())
  return new Table({
    origin: makeVector(makeData({ type, data: codes, dictionary })),
    delay: makeVector(makeData({ type: new Int16(), data: delay })),
    distance: makeVector(makeData({ type: new Int16(), data: distance })),
  }) as unknown as ArrowResult
}
