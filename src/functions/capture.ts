// Capture: a function as bytes that any executor can turn back into it. By source text, with nothing from its surroundings
// but globals and the helpers of bundlers; or by reference, when it comes from `fromModule`.
//
// C1. What is captured runs the same as here or is refused here, by name, before anything is sent.
// C2. Equal functions captured in the same directory have equal bytes and one id.

import { functionId, type FunctionId } from '../base/ids.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { helperDefinition, isImportedName } from './bundler-helpers.ts'
import { packForm, type CapturedForm, type CapturedSource } from './captured-form.ts'
import { surroundingsOf, type FreeVariable, type Surroundings } from './free-variables.ts'
import { functionSource, type FunctionSource } from './function-source.ts'
import { isOtherPlatformGlobal, knownGlobals } from './known-globals.ts'
import { moduleReferenceOf } from './modules.ts'

export interface CapturedFunction {
  /** Hash of `bytes`. */
  readonly id: FunctionId
  /** For people and for statistics: the function's name, or `anonymous`. */
  readonly name: string
  readonly bytes: Uint8Array
}

/** 128 bits. */
const ID_HEX_LENGTH = 32
const MAX_NAME_LENGTH = 80
const ANONYMOUS = 'anonymous'
/** Programs write `submit((x) => …)` inside loops: a new function each time, with the same text. */
const MAX_CACHED_TEXTS = 1000
const MAX_CACHED_TEXT_LENGTH = 16 * 1024

const captured = new WeakMap<object, CapturedFunction>()
const capturedByText = new Map<string, CapturedFunction>()

/**
 * Captures a function, once per function object.
 * @throws PlimsollError CANNOT_CAPTURE that names what in it cannot be sent and what to do.
 */
export function capture(fn: (...args: never[]) => unknown): CapturedFunction {
  if (typeof fn !== 'function')
    throw new PlimsollError('CANNOT_CAPTURE', `a function is needed here, not a value of type ${typeof fn}`)
  const known = captured.get(fn)
  if (known !== undefined) return known
  const result = captureAnew(fn)
  captured.set(fn, result)
  return result
}

function captureAnew(fn: (...args: never[]) => unknown): CapturedFunction {
  const name = nameOf(fn)
  const directory = process.cwd()
  const reference = moduleReferenceOf(fn)
  if (reference !== undefined) return pack({ kind: 'module', name, directory, ...reference })
  const text = `${directory}\n${name}\n${Function.prototype.toString.call(fn)}`
  const known = capturedByText.get(text)
  if (known !== undefined) return known
  const source = functionSource(fn, name)
  const result = pack({
    kind: 'source',
    name,
    expression: source.expression,
    ...needsOf(source, name),
    strict: source.strict,
    directory,
  })
  if (text.length <= MAX_CACHED_TEXT_LENGTH) {
    for (const [oldest] of capturedByText) {
      if (capturedByText.size < MAX_CACHED_TEXTS) break
      capturedByText.delete(oldest)
    }
    capturedByText.set(text, result)
  }
  return result
}

function nameOf(fn: (...args: never[]) => unknown): string {
  const name: unknown = fn.name
  return typeof name === 'string' && name !== '' ? name.slice(0, MAX_NAME_LENGTH) : ANONYMOUS
}

function pack(form: CapturedForm): CapturedFunction {
  const bytes = packForm(form)
  // Asked for here, since executors, which load this module as well, never hash and start 6 ms sooner without.
  const { hash } = process.getBuiltinModule('node:crypto')
  return { id: functionId(hash('sha256', bytes, 'hex').slice(0, ID_HEX_LENGTH)), name: form.name, bytes }
}

/** What the function needs around it. Refuses what cannot be given. */
function needsOf(source: FunctionSource, name: string): Pick<CapturedSource, 'prelude' | 'selfName'> {
  const surroundings = surroundingsOf(source)
  refuseConstructs(source, surroundings.constructs, name)
  const globals = knownGlobals()
  const declarations: string[] = []
  const refused: string[] = []
  let selfName: string | null = null
  for (const variable of surroundings.variables) {
    if (globals.has(variable.name) || isHarmless(variable)) continue
    const helper = helperDefinition(variable.name)
    if (helper !== undefined) declarations.push(helper)
    // `const fact = (n) => … fact(n - 1)`: the variable is the function. A method's name is not a variable.
    else if (variable.name === name && name !== ANONYMOUS && !source.isMethod) selfName = name
    else refused.push(variable.name)
  }
  if (refused.length > 0) throw refusal(name, refused)
  return { prelude: declarations.join('\n'), selfName }
}

const isHarmless = ({ name, guarded }: FreeVariable): boolean => guarded && isOtherPlatformGlobal(name)

function refuseConstructs(source: FunctionSource, constructs: Surroundings['constructs'], name: string): void {
  const cannot = (message: string): PlimsollError => new PlimsollError('CANNOT_CAPTURE', message, { name })
  if (constructs.has('import.meta')) {
    throw cannot(
      `${subject(name)} uses import.meta, which is not sent to workers: pass the URL as an argument, or use ${viaModule(name, 'import.meta.url')}`,
    )
  }
  const isArrow = source.fn.type === 'ArrowFunctionExpression'
  const outer = constructs.has('private member')
    ? 'a private member of its class'
    : constructs.has('super')
      ? 'super'
      : undefined
  const what = outer ?? (isArrow && constructs.has('this') ? '"this" from its surroundings' : undefined)
  if (what !== undefined)
    throw cannot(`${subject(name)} uses ${what}, which is not sent to workers: pass what it needs as arguments`)
}

function refusal(name: string, variables: readonly string[]): PlimsollError {
  const list = variables.map((variable) => `"${variable}"`)
  const [last, rest] = [list.at(-1), list.slice(0, -1)]
  const [names, are, them] =
    rest.length === 0
      ? [last, 'is', 'it as an argument']
      : [`${rest.join(', ')} and ${last}`, 'are', 'them as arguments']
  const what = `${subject(name)} uses ${names} from its surroundings, which ${are} not sent to workers yet`
  return new PlimsollError(
    'CANNOT_CAPTURE',
    `${what}: ${hintFor(name, variables) ?? `pass ${them}, or use ${viaModule(name)}`}`,
    { name, variables },
  )
}

const subject = (name: string): string => (name === ANONYMOUS ? 'the function' : `function "${name}"`)
const viaModule = (name: string, url = 'url'): string =>
  name === ANONYMOUS ? `fromModule(${url}, name)` : `fromModule(${url}, "${name}")`

const PATHS: ReadonlySet<string> = new Set(['__dirname', '__filename', '__vite_ssr_import_meta__'])

function hintFor(name: string, variables: readonly string[]): string | undefined {
  if (variables.some((variable) => variable === 'require' || isImportedName(variable))) {
    const example = "const { readFile } = await import('node:fs/promises')"
    return `import modules inside of it, as in ${example}, pass values as arguments, or use ${viaModule(name)}`
  }
  if (variables.some((variable) => PATHS.has(variable)))
    return `pass the path as an argument, or use ${viaModule(name)}`
  if (variables.length > 1 || variables[0] !== 'arguments') return undefined
  return 'an arrow function has no arguments of its own: write (...args) =>'
}
