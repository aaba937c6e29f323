// What the guards see of the sources: the syntax trees and types of the compiler itself, read through its (unstable, pinned) API.
//
// One program per test file; opening it parses everything once, types are asked for in one go per list of calls.
import { relative } from 'node:path'

import {
  type CallExpression,
  isCallExpression,
  isClassDeclaration,
  isIdentifier,
  isPropertyAccessExpression,
  type Node,
  type PropertyAccessExpression,
} from 'typescript/unstable/ast'
import { API } from 'typescript/unstable/sync'

export interface Call {
  readonly file: string
  readonly line: number
  /** Name of the receiver's type; '' for a plain function. */
  readonly receiver: string
  readonly method: string
  readonly node: CallExpression
}

export interface SourceTree {
  /** Relative to the folder, '/'-separated. */
  readonly file: string
  readonly text: string
  readonly root: Node
  lineOf(node: Node): number
}

export interface Program extends Disposable {
  readonly trees: readonly SourceTree[]
  /** Calls `x.method(...)` and `method(...)` of these names, with the type of x. */
  calls(methods: readonly string[], files?: (file: string) => boolean): Call[]
  /** The named type and every class that says it implements it. */
  implementers(type: string): ReadonlySet<string>
}

/** @param folder  where tsconfig.json is */
export function openProgram(folder: string): Program {
  const api = new API({ cwd: folder })
  const snapshot = api.updateSnapshot({ openProject: `${folder}/tsconfig.json` })
  const project = snapshot.getProjects()[0]!
  const trees = project.program
    .getSourceFileNames()
    .filter((name) => name.startsWith(`${folder}/`) && !name.includes('/node_modules/') && !name.includes('.gen.'))
    .map((name): SourceTree => {
      const source = project.program.getSourceFile(name)!
      const lineOf = (node: Node): number => source.text.slice(0, node.getStart(source)).split('\n').length
      return { file: relative(folder, name).replaceAll('\\', '/'), text: source.text, root: source, lineOf }
    })
  return {
    trees,
    calls: (methods, files = () => true) => {
      const found: { tree: SourceTree; node: CallExpression; method: string; receiver: Node | undefined }[] = []
      for (const tree of trees) {
        if (!files(tree.file)) continue
        walk(tree.root, (node) => {
          if (!isCallExpression(node)) return
          const called = node.expression
          if (isPropertyAccessExpression(called) && methods.includes(called.name.text)) {
            found.push({ tree, node, method: called.name.text, receiver: called.expression })
          } else if (isIdentifier(called) && methods.includes(called.text)) found.push({ tree, node, method: called.text, receiver: undefined })
        })
      }
      const receivers = found.flatMap(({ receiver }) => (receiver === undefined ? [] : [receiver]))
      const types = project.checker.getTypeAtLocation(receivers)
      let at = 0
      return found.map(({ tree, node, method, receiver }) => {
        const type = receiver === undefined ? undefined : types[at++]
        const name = type === undefined ? '' : (type.getSymbol()?.name ?? project.checker.typeToString(type))
        return { file: tree.file, line: tree.lineOf(node), receiver: name, method, node }
      })
    },
    implementers: (type) => {
      const names = new Set([type])
      for (const tree of trees) {
        walk(tree.root, (node) => {
          if (!isClassDeclaration(node) || node.name === undefined) return
          const bases = node.heritageClauses?.flatMap((clause) => clause.types.map((each) => each.expression)) ?? []
          if (bases.some((base) => isIdentifier(base) && base.text === type)) names.add(node.name.text)
        })
      }
      return names
    },
    [Symbol.dispose]: () => api.close(),
  }
}

export function walk(node: Node, visit: (node: Node) => void): void {
  visit(node)
  node.forEachChild((child) => walk(child, visit))
}

/** `FP.publish.beforeAppend` -> ['publish', 'beforeAppend'], `FP.log` on its own -> ['log']; undefined for anything else. */
export function memberOfFp(node: Node): readonly [group: string, name?: string] | undefined {
  if (!isPropertyAccessExpression(node)) return undefined
  if (isFp(node.expression)) return isPropertyAccessExpression(node.parent) && node.parent.expression === node ? undefined : [node.name.text]
  const group = node.expression
  return isPropertyAccessExpression(group) && isFp(group.expression) ? [group.name.text, node.name.text] : undefined
}

function isFp(node: PropertyAccessExpression['expression']): boolean {
  return isIdentifier(node) && node.text === 'FP'
}
