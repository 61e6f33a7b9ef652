// The other end of capture.ts: bytes become a function again, in an executor.

import { join } from 'node:path'
import { Script, constants } from 'node:vm'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { unpackForm, type CapturedModule, type CapturedSource } from './captured-form.ts'
import { importFunction } from './modules.ts'

type Rebuilt = (...args: unknown[]) => unknown

/**
 * Makes the function that `capture` was given. `import()` inside of it resolves from the directory that the client's
 * program was started in.
 * @throws PlimsollError CANNOT_CAPTURE when it cannot be compiled or imported here.
 */
export async function rebuild(bytes: Uint8Array): Promise<Rebuilt> {
  const form = unpackForm(bytes)
  return form.kind === 'source' ? compile(form) : importCaptured(form)
}

/** As `rebuild`, at once, for functions that were captured by source; `undefined` for those that have to be imported. */
export function rebuildNow(bytes: Uint8Array): Rebuilt | undefined {
  const form = unpackForm(bytes)
  return form.kind === 'source' ? compile(form) : undefined
}

function compile(form: CapturedSource): Rebuilt {
  const { name, expression, prelude, selfName, strict } = form
  // Either way an anonymous function gets its name.
  const key = JSON.stringify(name)
  const body =
    selfName === null
      ? `return ({ [${key}]: (${expression}\n) })[${key}]`
      : `const ${selfName} = (${expression}\n)\nreturn ${selfName}`
  const text = `(function () {${strict ? '"use strict";' : ''}${prelude}\n${body}\n})()`
  try {
    const fn: unknown = scriptIn(form.directory, name, text).runInThisContext()
    if (typeof fn === 'function') return fn as Rebuilt
  } catch (cause) {
    const message = `function "${name}" cannot be compiled here: ${cause instanceof Error ? cause.message : String(cause)}`
    throw new PlimsollError('CANNOT_CAPTURE', message, { name }, { cause })
  }
  throw new PlimsollError('CANNOT_CAPTURE', `function "${name}" did not compile to a function`, { name })
}

let loaderIsQuiet = false

/** The first `import()` of a script warns that the option is experimental; a task's stderr is no place for that. */
function quietLoader(): void {
  if (loaderIsQuiet) return
  loaderIsQuiet = true
  const emitWarning: unknown = Reflect.get(process, 'emitWarning')
  process.emitWarning = () => {}
  try {
    const load = importingScript(
      'plimsoll-first-import.js',
      '() => import("node:path")',
    ).runInThisContext() as () => Promise<unknown>
    load().catch(() => {})
  } finally {
    Reflect.set(process, 'emitWarning', emitWarning)
  }
}

/** A script that lives in `directory`: `import()` resolves from there, through Node's own loader. Stacks show the name. */
function scriptIn(directory: string, name: string, text: string): Script {
  const filename = join(directory, `plimsoll-function-${name.replace(/[^\p{ID_Continue}$-]+/gu, '_')}.js`)
  if (!text.includes('import')) return new Script(text, { filename })
  quietLoader()
  return importingScript(filename, text)
}

function importingScript(filename: string, text: string): Script {
  return new Script(text, { filename, importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER })
}

async function importCaptured(form: CapturedModule): Promise<Rebuilt> {
  if (/\.[cm]?tsx?(?:[?#].*)?$/.test(form.specifier)) await supportTypeScript()
  const load = scriptIn(form.directory, form.name, '(specifier) => import(specifier)').runInThisContext() as (
    specifier: string,
  ) => Promise<unknown>
  return importFunction(load, form)
}

let typeScriptSupported: Promise<unknown> | null = null

/** Node 20 cannot import TypeScript by itself. */
async function supportTypeScript(): Promise<void> {
  if ((process.features as { readonly typescript?: unknown }).typescript) return
  typeScriptSupported ??= Promise.all([import('tsx/cjs/api'), import('tsx/esm/api')]).then(([cjs, esm]) => {
    // Both: what a file without `"type": "module"` near it is, tsx decides as Node does.
    cjs.register()
    esm.register()
  })
  await typeScriptSupported
}
