// What a function takes from its surroundings, found in its syntax tree.

import type { Node, Program } from 'estree'
import { childrenOf, type FunctionSource } from './function-source.ts'
import { syntaxTools } from './syntax-tools.ts'

export interface FreeVariable {
  readonly name: string
  /** Somewhere the function asks `typeof name`. */
  readonly guarded: boolean
}

export type OuterConstruct = 'this' | 'super' | 'import.meta' | 'private member'

export interface Surroundings {
  /** In order of first use, each once. */
  readonly variables: readonly FreeVariable[]
  /** Constructs whose meaning lies outside of the function. */
  readonly constructs: ReadonlySet<OuterConstruct>
}

export function surroundingsOf(source: FunctionSource): Surroundings {
  return { variables: freeVariables(source.program), constructs: outerConstructs(source.fn) }
}

function freeVariables(program: Program): FreeVariable[] {
  const typeofOperands = new Set<Node>()
  visit(program, (node) => {
    if (node.type === 'UnaryExpression' && node.operator === 'typeof') typeofOperands.add(node.argument)
  })
  const scopes = syntaxTools().analyze(program as never, { ecmaVersion: 2022, sourceType: 'script' })
  const found = new Map<string, boolean>()
  for (const { identifier } of scopes.globalScope?.through ?? []) {
    const name = identifier.name as string
    found.set(name, found.get(name) === true || typeofOperands.has(identifier as Node))
  }
  return [...found].map(([name, guarded]) => ({ name, guarded }))
}

function outerConstructs(fn: FunctionSource['fn']): Surroundings['constructs'] {
  const found = new Set<OuterConstruct>()
  // `this` is the surroundings' own only where nothing but arrow functions lies between.
  const walk = (node: Node, isOuter: boolean, inClass: boolean): void => {
    if (node.type === 'MetaProperty' && node.meta.name === 'import') found.add('import.meta')
    if (node.type === 'ThisExpression' && isOuter) found.add('this')
    if (node.type === 'Super' && !inClass) found.add('super')
    if ((node.type as string) === 'PrivateIdentifier' && !inClass) found.add('private member')
    const outer =
      isOuter && node.type !== 'FunctionExpression' && node.type !== 'FunctionDeclaration' && !isClassMember(node)
    const inside = inClass || node.type === 'ClassBody' || (node.type === 'Property' && node.method)
    for (const child of childrenOf(node)) walk(child, outer, inside)
  }
  walk(fn, true, false)
  return found
}

const isClassMember = (node: Node): boolean => node.type === 'PropertyDefinition' || node.type === 'StaticBlock'

function visit(node: Node, callback: (node: Node) => void): void {
  callback(node)
  for (const child of childrenOf(node)) visit(child, callback)
}
