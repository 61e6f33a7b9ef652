import { describe, expect, it } from 'vitest'
import { httpLink, parseHttpAddress } from './address.ts'

describe('an address for HTTP', () => {
  it.each([
    ['127.0.0.1:8787', { host: '127.0.0.1', port: 8787 }],
    [':8787', { host: '127.0.0.1', port: 8787 }],
    ['0', { host: '127.0.0.1', port: 0 }],
    ['0.0.0.0:80', { host: '0.0.0.0', port: 80 }],
    ['[::1]:9', { host: '::1', port: 9 }],
    ['node7:8787', { host: 'node7', port: 8787 }],
    ['none', null],
  ])('%s', (text, expected) => {
    expect(parseHttpAddress(text)).toEqual(expected)
  })

  it.each(['', 'host', 'host:', 'host:99999', 'http://host:80', '[nonsense]:80', '::1:80', ':-1'])(
    'refuses "%s"',
    (text) => {
      expect(() => parseHttpAddress(text)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    },
  )

  it('becomes a link that works from this machine', () => {
    expect(httpLink({ host: '0.0.0.0', port: 1 })).toBe('http://127.0.0.1:1')
    expect(httpLink({ host: '::1', port: 1 })).toBe('http://[::1]:1')
  })
})
