// The text of a function as an expression that can be compiled anywhere. `toString()` gives methods, getters and private
// methods in a form that means something only inside their object or class.

import type { Options } from 'acorn'
import type { ArrowFunctionExpression, Expression, FunctionExpression, Node, Program } from 'estree'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { syntaxTools } from './syntax-tools.ts'

/** Acorn adds positions to estree nodes. */
export type Positioned<T> = T & { readonly start: number; readonly end: number }

export interface FunctionSource {
  readonly expression: string
  /** Of `expression` in parentheses, so positions are one more than in it. */
  readonly program: Program
  readonly fn: FunctionExpression | ArrowFunctionExpression
  readonly strict: boolean
  /** Was written as a method: its own name is not in scope inside it. */
  readonly isMethod: boolean
}

const NATIVE_CODE = /\{\s*\[native code\]\s*\}\s*$/

const OPTIONS: Options = {
  ecmaVersion: 'latest',
  sourceType: 'script',
  ranges: true, // eslint-scope reads them
  allowSuperOutsideMethod: true,
  allowImportExportEverywhere: true,
  checkPrivateFields: false,
}

/** @throws PlimsollError CANNOT_CAPTURE for what has no source text: native and bound functions, classes. */
export function functionSource(fn: (...args: never[]) => unknown, name: string): FunctionSource {
  const text = Function.prototype.toString.call(fn)
  if (NATIVE_CODE.test(text)) throw noSource(fn, name)
  const asExpression = tryParse(`(${text})`)
  if (asExpression !== undefined) {
    const { program, strict } = asExpression
    const root = rootExpression(program)
    if (root.type === 'ClassExpression') {
      throw cannot(
        name,
        `"${name}" is a class, which cannot be called: pass a function that makes an instance and returns plain data`,
      )
    }
    if (root.type === 'FunctionExpression' || root.type === 'ArrowFunctionExpression') {
      return { expression: text, program, fn: root, strict, isMethod: false }
    }
  }
  const expression = methodAsFunction(text, name)
  const parsed = expression === undefined ? undefined : tryParse(`(${expression})`)
  if (expression === undefined || parsed === undefined)
    throw cannot(name, `the source text of function "${name}" cannot be parsed: use fromModule(url, "${name}")`)
  return { expression, program: parsed.program, fn: methodOf(parsed.program), strict: parsed.strict, isMethod: true }
}

function noSource(fn: (...args: never[]) => unknown, name: string): PlimsollError {
  if (name.startsWith('bound ')) {
    return cannot(
      name,
      `function "${name}" was made with bind(), and what it is bound to cannot be seen: pass a function that gets everything as arguments`,
    )
  }
  const known =
    typeof (Math as unknown as Record<string, unknown>)[name] === 'function' &&
    (Math as unknown as Record<string, unknown>)[name] === fn
  return cannot(
    name,
    `function "${name}" is native and has no source text: wrap it, as in (...args) => ${known ? `Math.${name}` : name}(...args)`,
  )
}

function cannot(name: string, message: string): PlimsollError {
  return new PlimsollError('CANNOT_CAPTURE', message, { name })
}

/** Strict first, as all modules are; sloppy functions may contain what strict mode does not allow. */
function tryParse(text: string): { program: Program; strict: boolean } | undefined {
  for (const strict of [true, false]) {
    try {
      return { program: syntaxTools().parse(text, { ...OPTIONS, strict }) as unknown as Program, strict }
    } catch {
      // Not this way.
    }
  }
  return undefined
}

function rootExpression(program: Program): Expression {
  const [statement] = program.body
  if (statement?.type !== 'ExpressionStatement') throw new TypeError('not an expression')
  return statement.expression
}

/** `({ ["name"](…) {…} })["name"]`, whatever the key of the method was, and whether it was a getter. */
function methodAsFunction(text: string, name: string): string | undefined {
  for (const [before, after] of [
    ['({', '})'],
    ['(class {', '})'],
  ] as const) {
    const root = tryParse(before + text + after)
    const value = root === undefined ? undefined : methodValue(rootExpression(root.program))
    if (value === undefined) continue
    const key = JSON.stringify(name)
    const prefix = `${value.async === true ? 'async ' : ''}${value.generator === true ? '*' : ''}`
    return `({ ${prefix}[${key}]${text.slice(value.start - before.length)} })[${key}]`
  }
  return undefined
}

function methodValue(root: Expression): Positioned<FunctionExpression> | undefined {
  const member =
    root.type === 'ObjectExpression'
      ? root.properties[0]
      : root.type === 'ClassExpression'
        ? root.body.body[0]
        : undefined
  if (member?.type !== 'Property' && member?.type !== 'MethodDefinition') return undefined
  return member.value.type === 'FunctionExpression' ? (member.value as Positioned<FunctionExpression>) : undefined
}

function methodOf(program: Program): FunctionExpression {
  const root = rootExpression(program)
  const value = root.type === 'MemberExpression' && root.object.type !== 'Super' ? methodValue(root.object) : undefined
  if (value === undefined) throw new TypeError('not a method')
  return value
}

/** The children of a node, in order. */
export function* childrenOf(node: Node): IterableIterator<Node> {
  for (const value of Object.values(node) as unknown[]) {
    if (Array.isArray(value)) {
      for (const item of value as unknown[]) if (isNode(item)) yield item
    } else if (isNode(value)) {
      yield value
    }
  }
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as { readonly type?: unknown }).type === 'string'
