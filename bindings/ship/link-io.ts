// ship/link-io.ts: how executors move bytes over the link of a session: what a Peer asks and a Shipper sends, behind CatchUpIO and RebuildIO.
import { sha256 } from '../kernels/index.ts'
import { encodeManifest } from '../format/index.ts'

import type { Peer } from './peer.ts'
import type { Shipper } from './shipper.ts'
import type { CatchUpIO, Fence, Manifest, RebuildIO, StreamOptions, StreamSink, Want } from './types.ts'

export class LinkIO implements CatchUpIO, RebuildIO {
  readonly #peer: Peer
  readonly #shipper: Shipper
  readonly #attemptsMax: number
  #base: { readonly manifest: Manifest; readonly hash: Uint8Array } | undefined

  /** @param attemptsMax  times that one file of a base is sent before the session fails */
  constructor(peer: Peer, shipper: Shipper, attemptsMax: number) {
    this.#peer = peer
    this.#shipper = shipper
    this.#attemptsMax = attemptsMax
  }

  stream(fence: Fence, start: number, end: number, sink: StreamSink, signal: AbortSignal, o?: StreamOptions): Promise<number> {
    return this.#shipper.stream(fence, start, end, sink, signal, o)
  }

  async truncate(fence: Fence, lsn: number, signal: AbortSignal): Promise<number> {
    this.#shipper.checkFence(fence)
    return await this.#peer.truncate(lsn, signal)
  }

  async beginBase(fence: Fence, manifest: Manifest, signal: AbortSignal): Promise<Want> {
    this.#shipper.checkFence(fence)
    const bytes = encodeManifest(manifest)
    this.#base = { manifest, hash: sha256(bytes) }
    return await this.#peer.manifest(this.#base.hash, bytes, signal)
  }

  async sendFragments(fence: Fence, want: Want, sink: (progress: { files: number; bytes: number }) => void, signal: AbortSignal): Promise<void> {
    this.#shipper.checkFence(fence)
    const { manifest } = this.#begun()
    const records = (sent: (bytes: number) => void): Promise<void> => this.#shipper.sendBaseRecords(manifest.logFrom, manifest.baseLsn, sent, signal)
    await this.#peer.sendBase(manifest, want, { attemptsMax: this.#attemptsMax, records, sink, signal })
  }

  async install(fence: Fence, signal: AbortSignal): Promise<number> {
    this.#shipper.checkFence(fence)
    return await this.#peer.install(this.#begun().hash, signal)
  }

  #begun(): { readonly manifest: Manifest; readonly hash: Uint8Array } {
    if (this.#base === undefined) throw new RangeError('no base was begun on this link')
    return this.#base
  }
}
