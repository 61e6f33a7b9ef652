// CPU profiles by part of the system: what the sampler saw running, by the file it is in. Samples are counted, not the time
// between them: a process that waits for a processor is not sampled, and should not look busy.

import { readFileSync } from 'node:fs'

/** The part of a .cpuprofile that is read. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string }
  }[]
  readonly samples: readonly number[]
}

/** Samples by part; those of idle time are in none. */
export function countSamples(path: string): Map<string, number> {
  const { nodes, samples } = JSON.parse(readFileSync(path, 'utf8')) as CpuProfile
  const parts = new Map(nodes.map(({ id, callFrame }) => [id, partOf(callFrame.functionName, callFrame.url)]))
  const counts = new Map<string, number>()
  for (const id of samples) {
    const part = parts.get(id) ?? null
    if (part !== null) counts.set(part, (counts.get(part) ?? 0) + 1)
  }
  return counts
}

function partOf(functionName: string, url: string): string | null {
  if (functionName === '(idle)') return null
  if (functionName === '(garbage collector)') return 'garbage collection'
  // Between JavaScript: system calls, and the engine itself.
  if (functionName === '(program)' || functionName === '(root)') return 'outside JavaScript'
  if (url.startsWith('node:')) return 'Node’s own modules'
  const installed = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)
  if (installed !== null) return `${installed[1]}`
  const own = /\/dist\/(.+)\/[^/]+$/.exec(url)
  if (own !== null) return `${own[1]}`
  if (url !== '') return 'task function and program'
  // Bindings of Node to the operating system, and functions of the engine.
  return functionName === '' ? 'built-in, unnamed' : `built-in ${functionName}`
}
