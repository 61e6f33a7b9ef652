import { describe, expect, it } from 'vitest'
import { memoryMetrics } from './memory-metrics.ts'
import { byLabel, processMetrics, renderMetrics } from './prometheus.ts'

describe('metrics as text', () => {
  it('have a help, a type and their samples', () => {
    const text = renderMetrics([
      { name: 'tasks', help: 'By state.', type: 'gauge', samples: byLabel('state', { memory: 2, erred: 0 }) },
      { name: 'runs_total', help: 'Runs.', type: 'counter', samples: [{ value: Number.POSITIVE_INFINITY }] },
    ])
    expect(text.split('\n')).toEqual([
      '# HELP plimsoll_tasks By state.',
      '# TYPE plimsoll_tasks gauge',
      'plimsoll_tasks{state="memory"} 2',
      'plimsoll_tasks{state="erred"} 0',
      '# HELP plimsoll_runs_total Runs.',
      '# TYPE plimsoll_runs_total counter',
      'plimsoll_runs_total +Inf',
      '',
    ])
  })

  it('escape what would break a line', () => {
    const labels = { name: 'a"b\\c\nd' }
    const text = renderMetrics([{ name: 'x', help: 'one\ntwo\\', type: 'gauge', samples: [{ labels, value: 1 }] }])
    expect(text).toBe('# HELP plimsoll_x one\\ntwo\\\\\n# TYPE plimsoll_x gauge\nplimsoll_x{name="a\\"b\\\\c\\nd"} 1\n')
  })

  it('of memory have the five measures of every worker', () => {
    const memory = { limit: 100, process: 60, managed: 30, unmanaged: 20, unmanagedRecent: 10, spilled: 5 }
    const text = renderMetrics(memoryMetrics({ 'tcp://a': memory }))
    for (const line of [
      'plimsoll_worker_memory_bytes{worker="tcp://a",type="managed"} 30',
      'plimsoll_worker_memory_bytes{worker="tcp://a",type="unmanaged"} 20',
      'plimsoll_worker_memory_bytes{worker="tcp://a",type="unmanaged_recent"} 10',
      'plimsoll_worker_memory_bytes{worker="tcp://a",type="spilled"} 5',
      'plimsoll_worker_memory_limit_bytes{worker="tcp://a"} 100',
      'plimsoll_worker_process_memory_bytes{worker="tcp://a"} 60',
    ])
      expect(text).toContain(`${line}\n`)
  })

  it('of a process say what it used', () => {
    const text = renderMetrics(processMetrics())
    expect(text).toMatch(/^plimsoll_process_cpu_seconds_total \d+(\.\d+)?$/m)
    expect(text).toMatch(/^plimsoll_process_resident_memory_bytes [1-9]\d*$/m)
  })
})
