// oracles/bloom.ts: the split-block bloom filter of parquet-format BloomFilter.md, word by word, over BigInt hashes.

const SALT = [0x47b6137bn, 0x44974d91n, 0x8824ad5bn, 0xa2b7289dn, 0x705495c7n, 0x2df1424bn, 0x9efc4947n, 0x5c6bfb31n]

export class OracleBloom {
  readonly words: Uint32Array
  readonly blocks: number
  constructor(blocks: number) {
    this.blocks = blocks
    this.words = new Uint32Array(blocks * 8)
  }
  #bits(hash: bigint): { word: number; bit: number }[] {
    const block = Number(((hash >> 32n) * BigInt(this.blocks)) >> 32n)
    return SALT.map((salt, i) => ({ word: block * 8 + i, bit: Number((((hash & 0xffffffffn) * salt) & 0xffffffffn) >> 27n) }))
  }
  insert(hash: bigint): void {
    for (const { word, bit } of this.#bits(hash)) this.words[word]! |= 1 << bit
  }
  has(hash: bigint): boolean {
    return this.#bits(hash).every(({ word, bit }) => (this.words[word]! >>> bit) & 1)
  }
}
