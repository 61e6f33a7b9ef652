// `npm run bench`: Plimsoll beside its peers, in one run. docs/benchmarks.md says what is measured and how to read it.

import { writeFileSync } from 'node:fs'
import { Command, InvalidArgumentError } from 'commander'
import { type Peer, PEERS } from './case.ts'
import { selectCases } from './cases/index.ts'
import type { CaseReport } from './figures.ts'
import { prepare } from './prepare.ts'
import {
  caseGrid,
  formatRows,
  formatSurroundings,
  RESULT_HEADERS,
  resultRows,
  TARGET_HEADERS,
  targetRows,
} from './render.ts'
import { runCase } from './rounds.ts'
import { currentLoad, surroundings } from './surroundings.ts'

interface Options {
  readonly case: readonly string[]
  readonly peers: readonly Peer[]
  readonly pairs?: number
  readonly quick: boolean
  readonly json?: string
  readonly markdown: boolean
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
  .addHelpText(
    'after',
    '\nExit code 0: everything was measured, whatever targets were missed. 1: something was not measured. 2: wrong usage.',
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse()

process.exitCode = await main(program.opts<Options>())

async function main(options: Options): Promise<number> {
  const say = (text: string): void => void process.stderr.write(`${text}\n`)
  const cases = selectCases(options.case)
  const peers = options.peers.filter((peer) => cases.some((bench) => bench.peers.includes(peer)))
  const loadBefore = currentLoad()
  const missing = prepare(peers, say)
  const pairs = options.pairs ?? (options.quick ? 1 : FULL_PAIRS)
  const reports: CaseReport[] = []
  for (const bench of cases) reports.push(await runCase(bench, { ...options, peers, pairs, missing, say }))
  const where = surroundings(loadBefore)
  const style = options.markdown ? 'markdown' : 'text'
  const shown = cases.map((bench, i) => [bench, reports[i] as CaseReport] as const)
  const tables = [
    formatRows(
      style,
      RESULT_HEADERS,
      shown.flatMap(([bench, report]) => resultRows(bench, report)),
    ),
    ...shown.flatMap(([bench, report]) => {
      const grid = caseGrid(bench, report)
      return grid === null ? [] : [formatRows(style, grid.headers, grid.rows)]
    }),
    // Small counts reach nothing and miss nothing.
    ...(options.quick
      ? []
      : [
          formatRows(
            style,
            TARGET_HEADERS,
            shown.flatMap(([bench, report]) => targetRows(bench, report)),
          ),
        ]),
  ]
  const rounds = `${pairs} ${pairs === 1 ? 'round' : 'rounds'}${options.quick ? ', quick: small counts, no measurement' : ''}`
  process.stdout.write(`\n${formatSurroundings(where)}; ${rounds}\n\n${tables.join('\n\n')}\n`)
  if (options.json !== undefined) {
    const result = { format: 1, ...where, pairs, quick: options.quick, cases: reports }
    writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`)
  }
  return reports.some(isIncomplete) ? 1 : 0
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
