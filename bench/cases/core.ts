// The scheduler core alone, over a grid of sizes; each point in a process of its own (core/point.ts).

import { fileURLToPath } from 'node:url'
import type { BenchCase, Figure, Figures, Grid, SampleRequest } from '../case.ts'
import type { Shape } from '../core/workload.ts'
import { runToEnd } from '../run-to-end.ts'

const SHAPES: readonly Shape[] = ['map', 'tree']
const WORKERS = [10, 100, 1000, 10_000]
const TASKS = [10_000, 100_000, 1_000_000]
const MEASURES = ['microseconds', 'bytes'] as const
type Measure = (typeof MEASURES)[number]

const HEAP_MIB = 8192
const POINT_TIMEOUT_MS = 600_000

export const core: BenchCase = {
  id: 'h',
  title: 'scheduler core alone',
  does: '10 to 10,000 workers, 10,000 to 1,000,000 tasks, as a map and as a tree reduction in which every task is wanted; each point in a process of its own, after ten rounds of 20,000 tasks of the same shape. Processor time inside `step` per task; heap and buffers per task when all are in memory. No network, no heartbeats, no timers',
  peers: [],
  full: { workersMax: 10_000, tasksMax: 1_000_000 },
  quick: { workersMax: 100, tasksMax: 10_000 },
  figures: [
    { name: 'mapFlatness', title: 'map: dearest point over cheapest', unit: 'times', better: 'less' },
    { name: 'treeFlatness', title: 'tree: dearest point over cheapest', unit: 'times', better: 'less' },
    { name: 'mapMicroseconds', title: 'map: mean of the points', unit: 'µs', better: 'less' },
    { name: 'treeMicroseconds', title: 'tree: mean of the points', unit: 'µs', better: 'less' },
    { name: 'bytesMax', title: 'memory per task, largest point', unit: 'bytes', better: 'less' },
    ...SHAPES.flatMap((shape) =>
      WORKERS.flatMap((workers) =>
        TASKS.flatMap((tasks) =>
          MEASURES.map((measure): Figure => {
            const name = figureName(shape, workers, tasks, measure)
            return { name, title: name, unit: measure === 'bytes' ? 'bytes' : 'µs', better: 'less', detail: true }
          }),
        ),
      ),
    ),
  ],
  targets: [
    { figure: 'mapFlatness', atMost: 1.5 },
    { figure: 'treeFlatness', atMost: 1.5 },
    { figure: 'bytesMax', atMost: 1024 },
  ],
  timeoutMs: 3_600_000,
  pairsMax: 3,
  run: measure,
  grid,
}

function figureName(shape: Shape, workers: number, tasks: number, measureName: Measure): string {
  return `${shape} ${workers} workers ${tasks} tasks ${measureName}`
}

async function measure({ sizes }: SampleRequest): Promise<Figures> {
  const figures: Record<string, number> = {}
  let bytesMax = 0
  for (const shape of SHAPES) {
    const costs: number[] = []
    for (const workers of WORKERS.filter((n) => n <= (sizes['workersMax'] as number))) {
      for (const tasks of TASKS.filter((n) => n <= (sizes['tasksMax'] as number))) {
        const point = await measurePoint(shape, workers, tasks)
        for (const name of MEASURES) figures[figureName(shape, workers, tasks, name)] = point[name]
        costs.push(point.microseconds)
        bytesMax = Math.max(bytesMax, point.bytes)
      }
    }
    figures[`${shape}Flatness`] = Math.max(...costs) / Math.min(...costs)
    figures[`${shape}Microseconds`] = costs.reduce((a, b) => a + b, 0) / costs.length
  }
  return { ...figures, bytesMax }
}

async function measurePoint(shape: Shape, workers: number, tasks: number): Promise<Record<Measure, number>> {
  const flags = ['--expose-gc', `--max-old-space-size=${HEAP_MIB}`, '--import', import.meta.resolve('tsx')]
  const program = fileURLToPath(new URL('../core/point.ts', import.meta.url))
  const point = JSON.stringify([shape, workers, tasks])
  const { code, stdout, stderr } = await runToEnd(process.execPath, [...flags, program, point], {
    timeoutMs: POINT_TIMEOUT_MS,
  })
  if (code !== 0) throw new Error(`${point}: ${stderr.trim().split('\n').at(-1) ?? ''}`)
  return JSON.parse(stdout) as Record<Measure, number>
}

/** A row per shape and number of workers: microseconds and bytes per task for each number of tasks. */
function grid(medians: Figures): Grid {
  const cell = (shape: Shape, workers: number, tasks: number): string => {
    const [microseconds, bytes] = MEASURES.map((name) => medians[figureName(shape, workers, tasks, name)])
    return microseconds === undefined || bytes === undefined
      ? ''
      : `${microseconds.toFixed(1)} µs, ${bytes.toFixed(0)} B`
  }
  return {
    headers: ['shape', 'workers', ...TASKS.map((tasks) => `${tasks.toLocaleString('en')} tasks`)],
    rows: SHAPES.flatMap((shape) =>
      WORKERS.map((workers) => [
        shape,
        workers.toLocaleString('en'),
        ...TASKS.map((tasks) => cell(shape, workers, tasks)),
      ]),
    ),
  }
}
