// bench/ship/synced-file.ts: the least that a log does: bytes written into space that is there, then one fdatasync.
import { fdatasync, fsyncSync, openSync, writeSync } from 'node:fs'

const FILE_BYTES = 1024 * 1024

export class SyncedFile {
  readonly #fd: number
  #at = 0

  constructor(path: string) {
    this.#fd = openSync(path, 'w+')
    writeSync(this.#fd, new Uint8Array(FILE_BYTES))
    fsyncSync(this.#fd)
  }

  append(bytes: Uint8Array, done: () => void): void {
    if (this.#at + bytes.length > FILE_BYTES) this.#at = 0
    this.#at += writeSync(this.#fd, bytes, 0, bytes.length, this.#at)
    fdatasync(this.#fd, (error) => {
      if (error !== null) throw error
      done()
    })
  }
}
