// Policies of the active memory manager by name. They are code that runs inside the scheduler, so they come from whoever starts
// it, by its options or its configuration, and never over a connection.

import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { Policy } from './core/memory-manager.ts'
import { type MemoryPolicy, userPolicy } from './core/memory-policy.ts'
import { reduceReplicas } from './core/reduce-replicas.ts'

const KEY = 'scheduler.active-memory-manager.policies'
const BUILT_IN: ReadonlyMap<string, Policy> = new Map([[reduceReplicas.name, reduceReplicas]])

/** @throws PlimsollError CONFIG_INVALID that names the policy, INVALID_ARGUMENT for an option that is none. */
export async function loadPolicies(
  names: readonly string[],
  given: readonly MemoryPolicy[],
): Promise<readonly Policy[]> {
  const loaded: Policy[] = []
  for (const name of names) loaded.push(BUILT_IN.get(name) ?? (await importPolicy(name)))
  for (const policy of given) {
    if (!isPolicy(policy))
      throw new PlimsollError('INVALID_ARGUMENT', 'each of the option policies has a method run(cluster)')
    loaded.push(userPolicy(policy))
  }
  return loaded
}

async function importPolicy(name: string): Promise<Policy> {
  const at = name.lastIndexOf('#')
  if (at < 1)
    throw invalid(name, `it is none of ${[...BUILT_IN.keys()].join(', ')} and does not name a module (MODULE#EXPORT)`)
  const module = name.slice(0, at)
  let exported: unknown
  try {
    const found = (await import(specifierOf(module))) as Readonly<Record<string, unknown>>
    exported = found[name.slice(at + 1)]
  } catch (error) {
    throw invalid(name, `its module cannot be loaded: ${toError(error).message}`)
  }
  const policy = toPolicy(exported)
  if (policy === null)
    throw invalid(name, 'its export is no class or object with a method run(cluster), nor a function')
  return userPolicy({ name, run: (cluster) => policy.run(cluster) })
}

/** A path is one of a file; anything else a URL or a package. */
function specifierOf(module: string): string {
  return /^(\.{0,2}\/)/.test(module) ? pathToFileURL(resolve(module)).href : module
}

function toPolicy(exported: unknown): MemoryPolicy | null {
  if (isPolicy(exported)) return exported
  if (typeof exported !== 'function') return null
  if (isPolicy(exported.prototype)) return new (exported as new () => MemoryPolicy)()
  return { run: exported as MemoryPolicy['run'] }
}

function isPolicy(value: unknown): value is MemoryPolicy {
  return typeof (value as { readonly run?: unknown } | null | undefined)?.run === 'function'
}

function invalid(name: string, why: string): PlimsollError {
  return new PlimsollError('CONFIG_INVALID', `${KEY}: "${name}" is no policy: ${why}`, { key: KEY, value: name })
}
