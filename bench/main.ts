// `npm run bench`: Plimsoll beside its peers, in one run. docs/benchmarks.md says what is measured and how to read it.

import { writeFileSync } from 'node:fs'
import { Command, InvalidArgumentError, Option } from 'commander'
import { type BenchCase, type Peer, PEERS } from './case.ts'
import { selectCases } from './cases/index.ts'
import type { CaseReport } from './figures.ts'
import { prepare } from './prepare.ts'
import { formatProfile, profile } from './profile/profile.ts'
import {
  caseGrid,
  formatRows,
  formatSurroundings,
  RESULT_HEADERS,
  resultRows,
  type Style,
  TARGET_HEADERS,
  targetRows,
} from './render.ts'
import { runCase } from './rounds.ts'
import { currentLoad, surroundings, type Surroundings } from './surroundings.ts'

interface Options {
  readonly case: readonly string[]
  readonly peers: readonly Peer[]
  readonly pairs?: number
  readonly quick: boolean
  readonly json?: string
  readonly markdown: boolean
  readonly profile?: 'a'
  readonly profileDir?: string
}

const FULL_PAIRS = 5

const program = new Command('npm run bench --')
  .description('Measures Plimsoll beside its peers, in fresh processes and by turns, and says which targets are met.')
  .option('--case <ids>', 'only these cases, such as a,b (c means c-graph and c-futures)', list, [])
  .option('--peers <names>', `only these peers: ${PEERS.join(', ')}; or none`, peerList, [...PEERS])
  .option('--pairs <n>', `samples of each system (default: ${FULL_PAIRS}, with --quick 1)`, wholeNumber)
  .option('--quick', 'small counts: shows that everything runs, measures nothing', false)
  .option('--json <file>', 'write every sample and all results to this file')
  .option('--markdown', 'print the tables as they are in docs/benchmarks.md', false)
  .addOption(
    new Option('--profile <case>', 'no peers: where the microseconds of a task go, process by process').choices(['a']),
  )
  .option('--profile-dir <folder>', 'with --profile: keep the .cpuprofile of each process there')
  .addHelpText(
    'after',
    '\nExit code 0: everything was measured, whatever targets were missed. 1: something was not measured. 2: wrong usage.',
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse()

// What runs is in groups of its own, which a terminal does not reach: it ends, and its directories go, with this process.
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => process.exit(code))
}

const options = program.opts<Options>()
process.exitCode = options.profile === undefined ? await compare(options) : await takeProfile(options)

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

async function compare(chosen: Options): Promise<number> {
  const cases = selectCases(chosen.case)
  const peers = chosen.peers.filter((peer) => cases.some((bench) => bench.peers.includes(peer)))
  const loadBefore = currentLoad()
  const missing = prepare(peers, say)
  const pairs = chosen.pairs ?? (chosen.quick ? 1 : FULL_PAIRS)
  const reports: CaseReport[] = []
  for (const bench of cases) reports.push(await runCase(bench, { quick: chosen.quick, peers, pairs, missing, say }))
  const where = surroundings(loadBefore, peers)
  const rounds = `${pairs} ${pairs === 1 ? 'round' : 'rounds'}`
  print(chosen, where, rounds, tablesOf(chosen, cases, reports))
  save(chosen, { ...where, pairs, cases: reports })
  return reports.some(isIncomplete) ? 1 : 0
}

async function takeProfile(chosen: Options): Promise<number> {
  const loadBefore = currentLoad()
  try {
    const report = await profile({ quick: chosen.quick, folder: chosen.profileDir, say })
    const where = surroundings(loadBefore, [])
    print(chosen, where, 'one run', [formatProfile(styleOf(chosen), report)])
    save(chosen, { ...where, profile: report })
    return 0
  } catch (error) {
    say(`bench: ${error instanceof Error ? error.message : String(error)}`)
    return 1
  }
}

function styleOf({ markdown }: Options): Style {
  return markdown ? 'markdown' : 'text'
}

function tablesOf(chosen: Options, cases: readonly BenchCase[], reports: readonly CaseReport[]): string[] {
  const style = styleOf(chosen)
  const shown = cases.map((bench, i) => [bench, reports[i] as CaseReport] as const)
  const results = shown.flatMap(([bench, report]) => resultRows(bench, report))
  const grids = shown.flatMap(([bench, report]) => caseGrid(bench, report) ?? [])
  const targets = shown.flatMap(([bench, report]) => targetRows(bench, report))
  return [
    formatRows(style, RESULT_HEADERS, results),
    ...grids.map(({ headers, rows }) => formatRows(style, headers, rows)),
    // Small counts reach nothing and miss nothing.
    ...(chosen.quick ? [] : [formatRows(style, TARGET_HEADERS, targets)]),
  ]
}

function print(chosen: Options, where: Surroundings, how: string, tables: readonly string[]): void {
  const warning = chosen.quick ? '; quick: small counts, no measurement' : ''
  process.stdout.write(`\n${formatSurroundings(where)}; ${how}${warning}\n\n${tables.join('\n\n')}\n`)
}

function save(chosen: Options, result: object): void {
  if (chosen.json === undefined) return
  writeFileSync(chosen.json, `${JSON.stringify({ format: 1, quick: chosen.quick, ...result }, null, 2)}\n`)
}

function isIncomplete({ systems }: CaseReport): boolean {
  return Object.values(systems).some(({ samples, failures }) => failures.length > 0 || samples.length === 0)
}

function list(text: string): string[] {
  const ids = text.split(',').filter((id) => id !== '')
  try {
    selectCases(ids)
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error))
  }
  return ids
}

function peerList(text: string): Peer[] {
  const names = text === 'none' ? [] : text.split(',')
  for (const name of names) {
    if (!(PEERS as readonly string[]).includes(name)) {
      throw new InvalidArgumentError(`there is no peer "${name}"; there are ${PEERS.join(', ')}, or none`)
    }
  }
  return names as Peer[]
}

function wholeNumber(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('it takes a whole number of at least 1')
  return value
}
