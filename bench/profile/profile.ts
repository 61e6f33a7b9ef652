// `npm run bench -- --profile a`: where the microseconds of a trivial task go. Two runs: one undisturbed, for the processor
// time of each process; one with the profiler of every process on, which says in which part it went.

import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { SampleRequest } from '../case.ts'
import { formatRows, type Style } from '../render.ts'
import { runToEnd } from '../run-to-end.ts'
import { withScratch } from '../scratch.ts'
import { type Role, ROLES } from './members.ts'
import { countSamples } from './parts.ts'

const FULL = { tasks: 20_000, repeats: 5 }
const QUICK = { tasks: 1000, repeats: 1 }
const TIMEOUT_MS = 300_000
/** What design allows for each, microseconds per trivial task. */
const BUDGET: Readonly<Record<Role, number>> = { client: 5, scheduler: 15, worker: 15, executor: 15 }
/** Parts below this are summed up. */
const SMALL_MICROSECONDS = 0.2

export interface ProfileReport {
  /** Processor time per task by role, and wall time per task, microseconds; without a profiler. */
  readonly used: Readonly<Record<string, number>>
  /** The same processor time by role and part, in the proportions that the profiler saw. */
  readonly parts: Readonly<Record<Role, Readonly<Record<string, number>>>>
}

export interface ProfileOptions {
  readonly quick: boolean
  /** Where the .cpuprofile files stay; none: they are removed. */
  readonly folder: string | undefined
  readonly say: (text: string) => void
}

/** @throws Error when the program failed. */
export function profile(options: ProfileOptions): Promise<ProfileReport> {
  return withScratch(async (scratch) => {
    const folder = options.folder ?? join(scratch, 'profiles')
    mkdirSync(folder, { recursive: true })
    const request: SampleRequest = {
      case: 'a',
      system: 'plimsoll',
      sizes: options.quick ? QUICK : FULL,
      warmUpMs: options.quick ? 100 : 3000,
      scratch,
    }
    options.say('bench: processor time of each process')
    const used = await run(request, {})
    options.say('bench: the same with CPU profiles')
    await run(request, { PLIMSOLL_BENCH_NODE: launcher(scratch), PLIMSOLL_BENCH_PROFILES: folder })
    return { used, parts: readParts(folder, used) }
  })
}

/** Runs `node` with the hook: processes of a cluster start others by the path of their own executable. */
function launcher(scratch: string): string {
  const path = join(scratch, 'node')
  const hook = fileURLToPath(new URL('./hook.cjs', import.meta.url))
  writeFileSync(path, `#!/bin/sh\nexec "${process.execPath}" --require "${hook}" "$@"\n`)
  chmodSync(path, 0o755)
  return path
}

async function run(request: SampleRequest, env: Readonly<Record<string, string>>): Promise<Record<string, number>> {
  const program = fileURLToPath(new URL('./program.ts', import.meta.url))
  const args = ['--import', import.meta.resolve('tsx'), program, JSON.stringify(request)]
  const command = env['PLIMSOLL_BENCH_NODE'] ?? process.execPath
  const { code, stdout, stderr } = await runToEnd(command, args, { timeoutMs: TIMEOUT_MS, ownGroup: true, env })
  if (code !== 0) throw new Error(`the profiled program failed: ${stderr.trim().split('\n').at(-1) ?? ''}`)
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, number>
}

/** Each process's time without a profiler, split as the profiler saw it. */
function readParts(folder: string, used: Readonly<Record<string, number>>): ProfileReport['parts'] {
  const byRole: Record<Role, Record<string, number>> = { client: {}, scheduler: {}, worker: {}, executor: {} }
  for (const name of readdirSync(folder)) {
    const role = ROLES.find((each) => name.startsWith(`${each}-`) && name.endsWith('.cpuprofile'))
    if (role === undefined) continue
    for (const [part, samples] of countSamples(join(folder, name))) {
      byRole[role][part] = (byRole[role][part] ?? 0) + samples
    }
  }
  for (const role of ROLES) {
    const parts = byRole[role]
    const all = Object.values(parts).reduce((sum, samples) => sum + samples, 0)
    for (const part of Object.keys(parts)) parts[part] = ((parts[part] as number) / all) * (used[role] as number)
  }
  return byRole
}

export function formatProfile(style: Style, { used, parts }: ProfileReport): string {
  const processes = ROLES.map((role) => {
    const [microseconds, budget] = [used[role] as number, BUDGET[role]]
    return [role, `${microseconds.toFixed(1)} µs`, `${budget} µs`, `${(microseconds / budget).toFixed(2)} x`]
  })
  const sum = ROLES.reduce((all, role) => all + (used[role] as number), 0)
  const budget = ROLES.reduce((all, role) => all + BUDGET[role], 0)
  const rows = [
    ...processes,
    ['all together', `${sum.toFixed(1)} µs`, `${budget} µs`, `${(sum / budget).toFixed(2)} x`],
    ['time between two tasks', `${(used['wall'] as number).toFixed(1)} µs`, '', ''],
  ]
  return [
    formatRows(style, ['process', 'processor time per task', 'budget', 'of the budget'], rows),
    formatRows(
      style,
      ['process', 'part', 'processor time per task'],
      ROLES.flatMap((role) => partRows(role, parts[role])),
    ),
  ].join('\n\n')
}

function partRows(role: Role, parts: Readonly<Record<string, number>>): string[][] {
  const sorted = Object.entries(parts).toSorted((a, b) => b[1] - a[1])
  const large = sorted.filter(([, microseconds]) => microseconds >= SMALL_MICROSECONDS)
  const rest = sorted.slice(large.length).reduce((all, [, microseconds]) => all + microseconds, 0)
  const rows = large.map(([part, microseconds]) => [role, part, `${microseconds.toFixed(2)} µs`])
  return rest === 0 ? rows : [...rows, [role, 'the rest', `${rest.toFixed(2)} µs`]]
}
