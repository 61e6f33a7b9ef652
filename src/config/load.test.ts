import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { isErrorCode } from '../errors/plimsoll-error.ts'
import { CONFIG_KEY_NAMES, entryOf } from './defaults.ts'
import { configPaths } from './files.ts'
import { loadConfig, type LoadOptions } from './load.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plimsoll-config-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function file(text: string, name = 'a.yaml'): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

/** Only what the test gives: no files of this machine, no variables. */
function load(options: LoadOptions = {}) {
  return loadConfig({ env: {}, files: [], ...options })
}

function refusal(options: LoadOptions): string {
  try {
    load(options)
  } catch (error) {
    expect(isErrorCode(error, 'CONFIG_INVALID')).toBe(true)
    return (error as Error).message
  }
  throw new Error('expected a refusal')
}

describe('defaults', () => {
  it('pass their own schema and come out parsed', () => {
    const config = load()
    expect(config.get('worker.memory.target')).toBe(0.6)
    expect(config.get('worker.memory.max-spill')).toBe(false)
    expect(config.get('worker.memory.inline-limit')).toBe(65536)
    expect(config.get('scheduler.worker-ttl')).toBe(300_000)
    expect(config.get('scheduler.idle-timeout')).toBe(null)
    expect(config.get('worker.transfer.same-host')).toBe('link')
    expect(config.get('nanny.pre-spawn-environ')['UV_THREADPOOL_SIZE']).toBe('16')
    expect(config.entries().map((entry) => entry.key)).toEqual(CONFIG_KEY_NAMES)
    expect(config.overrides()).toEqual({})
  })

  it('name every key in lower case with dashes, and say what it does in a sentence', () => {
    for (const key of CONFIG_KEY_NAMES) {
      expect(key).toMatch(/^[a-z-]+(\.[a-z-]+)+$/)
      expect(entryOf(key).about).toMatch(/^[A-Z].*\.$/)
    }
  })
})

describe('precedence', () => {
  it('is files in their order, then the environment, then the program', () => {
    const first = file('worker:\n  memory:\n    target: 0.1\n    spill: 0.2\n    pause: 0.3\n', 'a.yaml')
    const second = file('worker: {memory: {spill: 0.25}}\nworker.cancel-grace: 7s\n', 'b.yaml')
    const config = load({
      files: [first, second],
      env: { PLIMSOLL_WORKER__MEMORY__PAUSE: '0.5', PLIMSOLL_WORKER__CANCEL_GRACE: '8s' },
      overrides: { 'worker.cancel-grace': 9000 },
    })
    expect(config.get('worker.memory.target')).toBe(0.1)
    expect(config.get('worker.memory.spill')).toBe(0.25)
    expect(config.get('worker.memory.pause')).toBe(0.5)
    expect(config.get('worker.cancel-grace')).toBe(9000)
    expect(config.source('worker.memory.target')).toBe(`${first}:3:5`)
    expect(config.source('worker.memory.pause')).toBe('environment variable PLIMSOLL_WORKER__MEMORY__PAUSE')
    expect(config.source('worker.cancel-grace')).toBe('program')
    expect(config.source('client.heartbeat')).toBe('default')
  })

  it('reads the folder of the user, then what PLIMSOLL_CONFIG names, file or folder', () => {
    mkdirSync(join(folder, '.config', 'plimsoll'), { recursive: true })
    mkdirSync(join(folder, 'more'))
    writeFileSync(join(folder, '.config', 'plimsoll', 'x.yaml'), 'client: {heartbeat: 1s}\nlogging: {level: info}\n')
    writeFileSync(join(folder, 'more', '1.yaml'), 'client: {heartbeat: 2s}\n')
    writeFileSync(join(folder, 'more', '2.json'), '{"client": {"heartbeat": "3s"}}')
    writeFileSync(join(folder, 'more', 'notes.txt'), 'not configuration')
    expect(loadConfig({ env: { HOME: folder } }).get('client.heartbeat')).toBe(1000)
    expect(configPaths({ HOME: folder }).filter(({ exists }) => exists)).toEqual([
      { path: join(folder, '.config', 'plimsoll', 'x.yaml'), exists: true },
    ])
    const config = loadConfig({ env: { HOME: folder, PLIMSOLL_CONFIG: join(folder, 'more') } })
    expect(config.get('client.heartbeat')).toBe(3000)
    expect(config.get('logging.level')).toBe('info')
    expect(() => loadConfig({ env: { HOME: folder, PLIMSOLL_CONFIG: join(folder, 'gone') } })).toThrow(
      /PLIMSOLL_CONFIG names .*gone/,
    )
  })

  it('merges mappings entry by entry', () => {
    const path = file('nanny: {environ: {TZ: UTC, A: 1}}\n')
    const config = load({
      files: [path],
      env: { PLIMSOLL_NANNY__ENVIRON__My_Var: 'x', PLIMSOLL_NANNY__PRE_SPAWN_ENVIRON__OMP_NUM_THREADS: 'null' },
      overrides: { 'nanny.environ': { A: null } },
    })
    expect(config.get('nanny.environ')).toEqual({ TZ: 'UTC', A: null, My_Var: 'x' })
    expect(config.get('nanny.pre-spawn-environ')).toMatchObject({ OMP_NUM_THREADS: null, UV_THREADPOOL_SIZE: '16' })
  })

  it('is topped by what the program sets later', () => {
    const config = load({ env: { PLIMSOLL_CLIENT__HEARTBEAT: '1s', PLIMSOLL_WORKER__RESOURCES: 'A=1' } })
    const derived = config.with({ 'client.heartbeat': '2s', 'worker.resources': { B: 2 } })
    expect([config.get('client.heartbeat'), derived.get('client.heartbeat')]).toEqual([1000, 2000])
    expect(derived.get('worker.resources')).toEqual({ A: 1, B: 2 })
    expect(derived.entry('client.heartbeat')).toMatchObject({ value: 2000, source: 'program' })
    expect(() => config.with({ 'client.hartbeat': 1 })).toThrow(/did you mean "client.heartbeat"/)
    expect(() => config.entry('client.hartbeat')).toThrow(/did you mean "client.heartbeat"/)
  })

  it('hands overrides on as JSON that loads to the same values', () => {
    const overrides = {
      worker: { memory: { target: false, spill: 0.5 } },
      'scheduler.worker-saturation': 'inf',
      'worker.memory.inline-limit': '1 KiB',
      'worker.cancel-grace': '2s',
      'scheduler.default-task-durations': { parse: '20ms' },
      'nanny.environ': { A: '1', B: null },
      'local-directory': '/tmp/x',
    }
    const config = load({ overrides })
    const handed = JSON.parse(JSON.stringify(config.overrides())) as Record<string, unknown>
    const again = load({ overrides: handed })
    for (const key of CONFIG_KEY_NAMES) expect(again.get(key)).toEqual(config.get(key))
    expect(again.get('scheduler.worker-saturation')).toBe(Number.POSITIVE_INFINITY)
    expect(again.get('worker.local-directory')).toBe('/tmp/x')
  })
})

describe('names', () => {
  it('take dashes and underscores alike, dots and nesting alike', () => {
    const path = file('worker:\n  memory.max_spill: 2 GiB\nclient.gather_limit: 1 GiB\n')
    const config = load({ files: [path] })
    expect(config.get('worker.memory.max-spill')).toBe(2 ** 31)
    expect(config.get('client.gather-limit')).toBe(2 ** 30)
  })

  it('refuse a misspelt key with file, line, column and the nearest key', () => {
    const path = file('worker:\n  memory:\n    traget: 0.5\n')
    expect(refusal({ files: [path] })).toBe(
      `${path}:3:5: unknown configuration key "worker.memory.traget"; did you mean "worker.memory.target"?`,
    )
    expect(refusal({ files: [file('memory: {target: 0.5}')] })).toMatch(
      /:1:10: unknown .* did you mean "worker.memory.target"/,
    )
    expect(refusal({ files: [file('zzzzzzzz: 1')] })).toMatch(
      /unknown configuration key "zzzzzzzz"; `plimsoll config list`/,
    )
  })

  it('refuse a value for a group of keys, and name its keys', () => {
    expect(refusal({ files: [file('worker:\n  memory: 0.5\n')] })).toMatch(
      /:2:3: "worker.memory" is a group .* worker.memory.target/,
    )
    expect(load({ files: [file('worker:\nclient: {}\n')] }).overrides()).toEqual({})
  })

  it('refuse a misspelt variable, and leave reserved and foreign ones alone', () => {
    expect(refusal({ env: { PLIMSOLL_WORKER__MEMROY__TARGET: '1' } })).toMatch(
      /variable PLIMSOLL_WORKER__MEMROY__TARGET: .* "worker.memory.target"/,
    )
    expect(refusal({ env: { PLIMSOLL_LOCAL_DIRECTRY: '/x' } })).toMatch(/did you mean "local-directory"/)
    const env = {
      PLIMSOLL_TOKEN: 'x',
      PLIMSOLL_NO_KOFFI: '1',
      PLIMSOLL_PORT: 'tcp://1.2.3.4:5',
      PLIMSOLL_SERVICE_HOST: '1.2.3.4',
    }
    expect(load({ env }).overrides()).toEqual({})
    expect(load({ env: { PLIMSOLL_LOG_LEVEL: 'debug', PLIMSOLL_MEMORY_DIRECTORY: '/dev/shm' } }).overrides()).toEqual({
      'logging.level': 'debug',
      'worker.memory-directory': '/dev/shm',
    })
  })

  it('refuse an unknown key given by code', () => {
    expect(refusal({ overrides: { worker: { memory: { taget: 1 } } } })).toMatch(
      /^program: unknown .*worker.memory.target/,
    )
  })
})

describe('values', () => {
  it('refuse with source, key, value and what is accepted', () => {
    const path = file('worker: {memory: {target: 60}}')
    expect(refusal({ files: [path] })).toBe(
      `${path}:1:19: worker.memory.target is 60; accepted: a number above 0 and up to 1, or false to switch it off`,
    )
    expect(refusal({ env: { PLIMSOLL_WORKER__TRANSFER__SAME_HOST: 'copy' } })).toMatch(
      /is "copy"; accepted: link, stream/,
    )
    expect(refusal({ overrides: { 'worker.memory.inline-limit': '4GB8' } })).toMatch(
      /is "4GB8"; accepted: a size such as/,
    )
    expect(refusal({ overrides: { 'worker.connections.incoming': 0 } })).toMatch(/accepted: a whole number, 1 or more/)
    expect(refusal({ overrides: { 'scheduler.validate': 'yes' } })).toMatch(/accepted: true or false/)
    expect(refusal({ overrides: { 'worker.resources': { GPU: 'two' } } })).toMatch(/accepted: names with numbers/)
  })

  it.each([0, -1, null, 'most', true, Number.NaN])('5.3-4 refuse %s as a saturation', (value) => {
    const key = 'scheduler.worker-saturation'
    expect(refusal({ overrides: { [key]: value } })).toMatch(/worker-saturation.*accepted: a number above 0, or inf/)
  })

  it.each([1.1, 0.5, 3, Number.POSITIVE_INFINITY])('5.3-4 accept %s as a saturation', (value) => {
    expect(load({ overrides: { 'scheduler.worker-saturation': value } }).get('scheduler.worker-saturation')).toBe(value)
  })

  it.each([0, -0.5, 1.01, null, 'half', true, Number.NaN])('refuse %s as a fraction', (value) => {
    expect(refusal({ overrides: { 'worker.memory.target': value } })).toMatch(
      /worker.memory.target is .* above 0 and up to 1/,
    )
  })

  it('want a unit with durations from files and the environment, where a bare number is easily mistaken', () => {
    expect(refusal({ env: { PLIMSOLL_CLIENT__HEARTBEAT: '30' } })).toMatch(/is 30; accepted: a duration with its unit/)
    expect(refusal({ files: [file('client: {heartbeat: 30}')] })).toMatch(
      /:1:10: client.heartbeat is 30; accepted: a duration/,
    )
    expect(refusal({ overrides: { 'client.heartbeat': '30' } })).toMatch(/is "30"; accepted: a duration with its unit/)
    expect(load({ overrides: { 'client.heartbeat': 30 } }).get('client.heartbeat')).toBe(30)
    expect(load({ env: { PLIMSOLL_WORKER__CANCEL_GRACE: '0' } }).get('worker.cancel-grace')).toBe(0)
  })

  it.each(['worker.memory.monitor-interval', 'scheduler.active-memory-manager.interval', 'client.heartbeat'])(
    'want more than an instant between two times of what is done again and again (%s)',
    (key) => {
      for (const value of [0, '9ms', -1, false, 'often'])
        expect(refusal({ overrides: { [key]: value } })).toMatch(/accepted: a duration with its unit, at least 10ms/)
      expect(load({ overrides: { [key]: 10 } }).get(key as 'client.heartbeat')).toBe(10)
    },
  )

  it('refuse a ladder whose rungs are out of order, and ignore those switched off', () => {
    expect(refusal({ overrides: { 'worker.memory.target': 0.9 } })).toBe(
      'worker.memory.target is 0.9 (program), above worker.memory.spill, which is 0.7 (default); they must satisfy target <= spill <= pause <= kill-task <= terminate, and false switches one off',
    )
    expect(refusal({ overrides: { 'worker.memory.target': 0.9, 'worker.memory.spill': false } })).toMatch(
      /above worker.memory.pause/,
    )
    expect(refusal({ overrides: { 'worker.memory.kill-task': 0.75 } })).toMatch(
      /pause is 0.8 \(default\), above worker.memory.kill-task, which is 0.75/,
    )
    expect(refusal({ overrides: { 'worker.memory.kill-task': false, 'worker.memory.terminate': 0.5 } })).toMatch(
      /pause is 0.8 \(default\), above worker.memory.terminate, which is 0.5/,
    )
    const overrides = { 'worker.memory.target': 0.9, 'worker.memory.spill': false, 'worker.memory.pause': false }
    expect(load({ overrides }).get('worker.memory.pause')).toBe(false)
  })

  it('read texts of the environment by the kind of the key', () => {
    const env = {
      PLIMSOLL_WORKER__RESOURCES: 'GPU=2,LICENCE=0.5',
      PLIMSOLL_SCHEDULER__DEFAULT_TASK_DURATIONS: '{parse: 20ms}',
      PLIMSOLL_WORKER__DEATH_TIMEOUT: 'none',
      PLIMSOLL_SCHEDULER__VALIDATE: 'True',
      PLIMSOLL_WORKER__MEMORY__MAX_SPILL: 'false',
      PLIMSOLL_SCHEDULER__WORKER_SATURATION: 'inf',
      PLIMSOLL_LOGGING__LEVELS__nanny: 'info',
      PLIMSOLL_WORKER__LOCAL_DIRECTORY: '123',
    }
    const config = load({ env })
    expect(config.get('worker.resources')).toEqual({ GPU: 2, LICENCE: 0.5 })
    expect(config.get('scheduler.default-task-durations')).toEqual({ parse: 20 })
    expect(config.get('worker.death-timeout')).toBe(null)
    expect(config.get('scheduler.validate')).toBe(true)
    expect(config.get('worker.memory.max-spill')).toBe(false)
    expect(config.get('scheduler.worker-saturation')).toBe(Number.POSITIVE_INFINITY)
    expect(config.get('logging.levels')).toEqual({ nanny: 'info' })
    expect(config.get('worker.local-directory')).toBe('123')
    expect(refusal({ env: { PLIMSOLL_WORKER__RESOURCES: '{GPU' } })).toMatch(/accepted: names with numbers/)
  })
})

describe('files', () => {
  it('that are no YAML, or no mapping, are refused with their place', () => {
    expect(refusal({ files: [file('worker: {memory: ')] })).toMatch(/a\.yaml:1:\d+: not valid YAML/)
    expect(refusal({ files: [file('worker:\n  a: 1\n  a: 2\n')] })).toMatch(/a\.yaml:3:3: not valid YAML/)
    expect(refusal({ files: [file('- 1\n- 2\n')] })).toMatch(/holds a mapping of keys/)
    expect(refusal({ files: [folder] })).toMatch(/cannot be read/)
  })

  it('that are empty or not there say nothing', () => {
    expect(load({ files: [file('# nothing\n'), join(folder, 'gone.yaml')] }).overrides()).toEqual({})
  })

  it('are YAML 1.2: `on` and `yes` are texts', () => {
    expect(refusal({ files: [file('scheduler: {validate: yes}')] })).toMatch(
      /scheduler.validate is "yes"; accepted: true or false/,
    )
  })
})
