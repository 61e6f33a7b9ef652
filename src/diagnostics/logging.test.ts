import { getLogger, resetSync } from '@logtape/logtape'
import { afterEach, describe, expect, it } from 'vitest'
import { partLogger } from '../base/part-logger.ts'
import { configureLogging } from './logging.ts'

afterEach(() => resetSync())

function captured(options: Partial<Parameters<typeof configureLogging>[0]> = {}, isTTY = false) {
  const lines: string[] = []
  configureLogging({ level: 'warning', stream: { write: (text: string) => lines.push(text), isTTY }, ...options })
  return lines
}

describe('configureLogging', () => {
  it('writes one JSON object per line where nobody watches', () => {
    const lines = captured()
    const error = new Error('no space')
    partLogger('nanny').warn('worker {id} died', { id: 'w1', error, size: 10n })
    expect(lines).toHaveLength(1)
    expect(lines[0]?.endsWith('\n')).toBe(true)
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      level: 'warning',
      part: 'nanny',
      pid: process.pid,
      text: 'worker w1 died',
      id: 'w1',
      size: '10',
      error: { message: 'no space' },
    })
  })

  it('writes lines for people on a terminal', () => {
    const lines = captured({}, true)
    partLogger('nanny').error('worker {id} died: {error}', { id: 'w1', error: new Error('no space') })
    // oxlint-disable-next-line no-control-regex
    expect(lines[0]?.replaceAll(/\u001B\[[0-9;]*m/g, '')).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} error nanny: worker w1 died: no space\n$/,
    )
  })

  it('uses no colours in a file that people read', () => {
    const lines = captured({ json: false })
    partLogger('nanny').error('x')
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} error nanny: x\n$/)
  })

  it('keeps quiet below the level, with exceptions by part in both directions', () => {
    const lines = captured({ levels: { nanny: 'debug', comm: 'fatal' } })
    partLogger('scheduler').info('not this')
    partLogger('comm').error('nor this')
    partLogger('nanny').debug('this')
    partLogger('nanny', 'child').debug('and this')
    getLogger(['somebody', 'else']).fatal('not ours')
    expect(lines.map((line) => (JSON.parse(line) as { text: string }).text)).toEqual(['this', 'and this'])
  })

  it('can be called again, and survives properties that refer to themselves', () => {
    captured()
    const lines = captured()
    const loop: Record<string, unknown> = {}
    loop['self'] = loop
    partLogger('x').warn('loop', { loop })
    expect(lines).toHaveLength(1)
    expect(lines[0]).toContain('loop')
  })
})
