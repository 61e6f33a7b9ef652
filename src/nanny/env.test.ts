import { describe, expect, it } from 'vitest'
import { loadConfig } from '../config/index.ts'
import { cleanNodeOptions, workerEnvironment } from './env.ts'

const load = (overrides: Record<string, unknown> = {}) => loadConfig({ overrides, env: {}, files: [] })

describe('workerEnvironment', () => {
  it('sets what must be there before a process starts', () => {
    const variables = workerEnvironment(load(), { own: {} })
    expect(variables).toMatchObject({ MALLOC_TRIM_THRESHOLD_: '65536', UV_THREADPOOL_SIZE: '16', OMP_NUM_THREADS: '1' })
  })

  it('lets the option win over the environment, and the environment over the configuration', () => {
    const config = load({ 'nanny.environ': { A: 'config', B: 'config', C: 'config', OMP_NUM_THREADS: '2' } })
    const variables = workerEnvironment(config, {
      own: { B: 'own', C: 'own', UV_THREADPOOL_SIZE: '4' },
      env: { C: 'option' },
    })
    expect(variables).toMatchObject({
      A: 'config',
      B: 'own',
      C: 'option',
      OMP_NUM_THREADS: '2',
      UV_THREADPOOL_SIZE: '4',
    })
  })

  it('leaves out what the configuration sets to null', () => {
    const variables = workerEnvironment(load({ 'nanny.pre-spawn-environ': { OMP_NUM_THREADS: null } }), { own: {} })
    expect(variables).not.toHaveProperty('OMP_NUM_THREADS')
    expect(variables).toHaveProperty('MKL_NUM_THREADS')
  })

  it('hands no secret and no channel on', () => {
    const own = { PLIMSOLL_TOKEN: 'secret', PLIMSOLL_TOKEN_FILE: '/x', NODE_CHANNEL_FD: '3', PATH: '/bin' }
    const variables = workerEnvironment(load(), { own })
    expect(variables).toHaveProperty('PATH', '/bin')
    for (const name of ['PLIMSOLL_TOKEN', 'PLIMSOLL_TOKEN_FILE', 'NODE_CHANNEL_FD'])
      expect(variables).not.toHaveProperty(name)
  })

  it('keeps of NODE_OPTIONS only what is meant for every process', () => {
    const own = {
      NODE_OPTIONS: '--inspect=9229 --max-old-space-size=8192 --import tsx --enable-source-maps --require ./x.js',
    }
    expect(workerEnvironment(load(), { own })['NODE_OPTIONS']).toBe('--enable-source-maps')
    expect(workerEnvironment(load(), { own: { NODE_OPTIONS: '--inspect' } })).not.toHaveProperty('NODE_OPTIONS')
    expect(workerEnvironment(load(), { own: {}, env: { NODE_OPTIONS: '--inspect' } })['NODE_OPTIONS']).toBe('--inspect')
    expect(cleanNodeOptions('')).toBe('')
  })
})
