// What a function takes from its surroundings, found in its syntax tree.

import { analyze } from 'eslint-scope'
import type { Node, Program } from 'estree'
import { childrenOf, type FunctionSource } from './function-source.ts'

export interface FreeVariable {
  readonly name: string
  /** Every use of it is `typeof name`. */
  readonly onlyTypeof: boolean
}

export interface Surroundings {
  /** In order of first use, each once. */
  readonly variables: readonly FreeVariable[]
  /** Constructs whose meaning lies outside of the function. */
  readonly constructs: ReadonlySet<'this' | 'super' | 'new.target' | 'import.meta' | 'private member'>
}

export function surroundingsOf(source: FunctionSource): Surroundings {
  return { variables: freeVariables(source.program), constructs: outerConstructs(source.fn) }
}

function freeVariables(program: Program): FreeVariable[] {
  const typeofOperands = new Set<Node>()
  visit(program, (node) => {
    if (node.type === 'UnaryExpression' && node.operator === 'typeof') typeofOperands.add(node.argument)
  })
  const scopes = analyze(program as never, { ecmaVersion: 2022, sourceType: 'script' })
  const found = new Map<string, boolean>()
  for (const { identifier } of scopes.globalScope?.through ?? []) {
    const onlyTypeof = typeofOperands.has(identifier as Node)
    found.set(identifier.name as string, (found.get(identifier.name as string) ?? true) && onlyTypeof)
  }
  return [...found].map(([name, onlyTypeof]) => ({ name, onlyTypeof }))
}

function outerConstructs(fn: FunctionSource['fn']): Surroundings['constructs'] {
  const found = new Set<'this' | 'super' | 'new.target' | 'import.meta' | 'private member'>()
  // `this` and its like are the surroundings' own only where nothing but arrow functions lies between.
  const walk = (node: Node, isOuter: boolean, inClass: boolean): void => {
    if (node.type === 'MetaProperty') {
      if (node.meta.name === 'import') found.add('import.meta')
      else if (isOuter) found.add('new.target')
    }
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
