// runtime/shown.ts: what `console.log` of Node, Deno and Bun shows of a handle: what it is of, not its insides.

/** The method that Node's util.inspect asks for; the others honour it. */
const INSPECT = Symbol.for('nodejs.util.inspect.custom')

export function showAs<T>(type: { readonly prototype: T }, shown: (handle: T) => object): void {
  Object.defineProperty(type.prototype, INSPECT, {
    value(this: T): object {
      return shown(this)
    },
    configurable: true,
  })
}
