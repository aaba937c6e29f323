// cli/formats/arrow-out.ts: batches of a scan as Arrow IPC through apache-arrow.
//
// `arrow` is the file format (random access; a dictionary may not change between batches, so texts are written plainly), `arrows` the stream format.
import type * as Arrow from 'apache-arrow'
import type { AnyTable, Scan } from '../../index.ts'
import { loadArrow } from './arrow-codecs.ts'
import type { OnRows, SinkTarget } from './sink.ts'

export async function writeArrow(format: 'arrow' | 'arrows', scan: Scan<AnyTable, object>, target: SinkTarget, onRows: OnRows | undefined): Promise<number> {
  const arrow = await loadArrow()
  let rows = 0
  async function* batches(): AsyncGenerator<Arrow.RecordBatch, undefined> {
    for await (const batch of scan.batches()) {
      rows += batch.numRows
      const plain = batch as unknown as Arrow.RecordBatch
      yield format === 'arrow' ? withoutDictionaries(arrow, plain) : plain
      onRows?.(rows)
    }
  }
  const parts: Uint8Array[] = []
  // The writer's own queue has no bound: what it writes is taken from it batch by batch.
  class Sink extends arrow.AsyncByteQueue<Uint8Array> {
    override write(part: Uint8Array): void {
      parts.push(part)
    }
  }
  const drain = async (): Promise<void> => {
    for (const part of parts.splice(0)) await target.write(part)
  }
  const writer = format === 'arrow' ? new arrow.RecordBatchFileWriter() : new arrow.RecordBatchStreamWriter()
  writer.reset(new Sink())
  for await (const batch of batches()) {
    writer.write(batch)
    await drain()
  }
  // Without a row there was no batch, and without a batch no schema.
  if (rows === 0) {
    const { schema } = (await scan.toArrow()) as unknown as Arrow.Table
    writer.write(
      new arrow.Table(
        format === 'arrow'
          ? new arrow.Schema(
              schema.fields.map((field) => plainField(arrow, field)),
              schema.metadata,
            )
          : schema,
      ),
    )
  }
  writer.finish()
  await drain()
  return rows
}

function withoutDictionaries(arrow: typeof Arrow, batch: Arrow.RecordBatch): Arrow.RecordBatch {
  const { DataType } = arrow
  if (!batch.schema.fields.some((field) => DataType.isDictionary(field.type))) return batch
  const children = batch.schema.fields.map((field, i) => {
    const child = batch.data.children[i]!
    if (!DataType.isDictionary(field.type)) return child
    const vector = arrow.makeVector(child as Arrow.Data<Arrow.Dictionary>)
    const builder = arrow.makeBuilder({ type: new arrow.Utf8(), nullValues: [null] })
    for (const value of vector as Iterable<string | null>) builder.append(value)
    return builder.finish().flush()
  })
  const fields = batch.schema.fields.map((field) => plainField(arrow, field))
  const data = arrow.makeData({ type: new arrow.Struct(fields), length: batch.numRows, nullCount: 0, children })
  return new arrow.RecordBatch(new arrow.Schema(fields, batch.schema.metadata), data as Arrow.Data<Arrow.Struct>)
}

function plainField(arrow: typeof Arrow, field: Arrow.Field): Arrow.Field {
  return arrow.DataType.isDictionary(field.type) ? new arrow.Field(field.name, new arrow.Utf8(), field.nullable, field.metadata) : field
}
