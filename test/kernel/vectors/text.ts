// vectors/text.ts: the input of the lz4 samples beside it, and of tests that need compressible bytes. Deterministic; changing it invalidates the samples.

const WORDS = 'flight delay origin carrier distance wheels departure arrival gate runway weather cancelled diverted schedule'.split(' ')

/** About `bytes` bytes of words, numbers and repeats, from one seed. */
export function sampleText(bytes: number, seed = 1): Uint8Array<ArrayBuffer> {
  let state = seed >>> 0
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state >>> 8
  }
  let text = ''
  while (text.length < bytes) {
    text += `${WORDS[next() % WORDS.length]} ${next() % 10_000} `
    if (next() % 50 === 0) text += 'a'.repeat(next() % 300)
    if (next() % 40 === 0) text += text.slice(-(next() % 500))
  }
  return new TextEncoder().encode(text.slice(0, bytes))
}
