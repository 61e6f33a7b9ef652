// Functions by reference: a URL and the name of an export, imported by the executor. The alternative to sending source.

import { isAbsolute, parse } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PlimsollError } from '../errors/plimsoll-error.ts'

export interface ModuleReference {
  readonly specifier: string
  readonly exportName: string
}

const REFERENCE = Symbol.for('plimsoll.moduleReference')

/**
 * A stand-in for a function that workers import by themselves: it may use anything its module has. `url`: a file URL, an
 * absolute path, `import.meta.url`, or the specifier of a package that is installed where the workers run. Called here, it
 * imports the module and returns a promise of the result.
 * @throws PlimsollError INVALID_ARGUMENT for a relative path or a URL that cannot be imported.
 */
export function fromModule<F extends (...args: never[]) => unknown>(url: string | URL, exportName = 'default'): F {
  const specifier = specifierOf(typeof url === 'string' ? url : url.href)
  const standIn = async (...args: unknown[]): Promise<unknown> => {
    const fn = await importFunction((wanted) => import(wanted), { specifier, exportName })
    return fn(...args)
  }
  Object.defineProperty(standIn, 'name', {
    value: exportName === 'default' ? baseName(specifier) : exportName,
    configurable: true,
  })
  Object.defineProperty(standIn, REFERENCE, { value: { specifier, exportName } satisfies ModuleReference })
  return standIn as unknown as F
}

/** The reference behind a stand-in; `undefined` for any other function. */
export function moduleReferenceOf(fn: object): ModuleReference | undefined {
  return (fn as { readonly [REFERENCE]?: ModuleReference })[REFERENCE]
}

function specifierOf(url: string): string {
  if (/^\.{0,2}\//.test(url) && !isAbsolute(url)) {
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `fromModule: "${url}" is relative, and workers do not know to what: use new URL('${url}', import.meta.url)`,
      { url },
    )
  }
  if (isAbsolute(url)) return pathToFileURL(url).href
  if (/^(?:file|node|data):/.test(url)) return url
  if (url === '' || /^[a-z][a-z0-9+.-]+:/i.test(url)) {
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `fromModule: "${url}" cannot be imported: use a file URL, an absolute path or the name of a package`,
      { url },
    )
  }
  return url
}

function baseName(specifier: string): string {
  if (specifier.startsWith('data:')) return 'default'
  return parse(specifier.replace(/[?#].*$/s, '')).name || 'default'
}

/**
 * Imports the module and takes the export.
 * @throws PlimsollError CANNOT_CAPTURE when the module cannot be loaded or has no such function.
 */
export async function importFunction(
  load: (specifier: string) => Promise<unknown>,
  { specifier, exportName }: ModuleReference,
): Promise<(...args: unknown[]) => unknown> {
  let namespace: Record<string, unknown>
  try {
    namespace = (await load(specifier)) as Record<string, unknown>
  } catch (cause) {
    const message = `module ${specifier} of function "${exportName}" cannot be imported by process ${process.pid}: ${cause instanceof Error ? cause.message : String(cause)}`
    throw new PlimsollError('CANNOT_CAPTURE', message, { specifier, exportName }, { cause })
  }
  const exported = exportOf(namespace, exportName)
  if (typeof exported === 'function') return exported as (...args: unknown[]) => unknown
  const names = Object.keys(namespace)
  const state =
    exportName in namespace
      ? `exports "${exportName}", which is of type ${typeof exported} and not a function`
      : `does not export "${exportName}"`
  const message = `module ${specifier} ${state}; it exports ${names.length === 0 ? 'nothing' : names.join(', ')}`
  throw new PlimsollError('CANNOT_CAPTURE', message, { specifier, exportName, exports: names })
}

/** What CommonJS modules export may be visible through `default` only. */
function exportOf(namespace: Record<string, unknown>, exportName: string): unknown {
  if (exportName in namespace) return namespace[exportName]
  const whole = namespace['default']
  return typeof whole === 'object' && whole !== null ? (whole as Record<string, unknown>)[exportName] : undefined
}
