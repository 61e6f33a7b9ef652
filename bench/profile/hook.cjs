// Loaded before anything else by every process of a profiled cluster: a first SIGUSR2 starts the profiler, a second one writes
// <folder>/<role>-<pid>.cpuprofile and ends it. What the process starts is started the same way.

const { writeFileSync } = require('node:fs')
const { Session } = require('node:inspector')
const { join } = require('node:path')

const { PLIMSOLL_BENCH_NODE: launcher, PLIMSOLL_BENCH_PROFILES: folder } = process.env
const SAMPLING_MICROSECONDS = 200

if (launcher !== undefined && folder !== undefined) {
  process.execPath = launcher
  const session = new Session()
  let running = false
  process.on('SIGUSR2', () => {
    const file = join(folder, `${role()}-${process.pid}`)
    if (running) {
      session.post('Profiler.stop', (error, result) => {
        writeFileSync(`${file}.cpuprofile`, JSON.stringify(error ?? result.profile))
        session.disconnect()
      })
      return
    }
    running = true
    session.connect()
    session.post('Profiler.enable')
    session.post('Profiler.setSamplingInterval', { interval: SAMPLING_MICROSECONDS })
    session.post('Profiler.start', () => writeFileSync(`${file}.started`, ''))
  })
}

function role() {
  const [, script = ''] = process.argv
  if (script.endsWith('helper-main.js')) return 'scheduler'
  if (script.endsWith('worker/main.js')) return 'worker'
  if (script.endsWith('executor/main.js')) return 'executor'
  return 'client'
}
