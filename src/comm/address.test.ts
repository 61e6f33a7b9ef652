import { describe, expect, it } from 'vitest'
import { isErrorCode } from '../errors/plimsoll-error.ts'
import { contactHost, formatAddress, isLoopback, parseAddress } from './address.ts'

describe('parseAddress', () => {
  it.each([
    ['tcp://10.0.0.5:8786', { scheme: 'tcp', host: '10.0.0.5', port: 8786 }],
    ['10.0.0.5:8786', { scheme: 'tcp', host: '10.0.0.5', port: 8786 }],
    ['tls://scheduler.example:1', { scheme: 'tls', host: 'scheduler.example', port: 1 }],
    ['tcp://[::1]:8786', { scheme: 'tcp', host: '::1', port: 8786 }],
    ['TCP://localhost', { scheme: 'tcp', host: 'localhost', port: 0 }],
    ['inproc://one', { scheme: 'inproc', host: 'one', port: 0 }],
  ])('reads %s', (text, address) => {
    expect(parseAddress(text)).toEqual(address)
    expect(parseAddress(formatAddress(parseAddress(text)))).toEqual(address)
  })

  it.each(['', 'tcp://', 'http://a:1', 'tcp://a:99999', 'tcp://::1:80', 'tcp://a:x', 'tcp://a b:1/c'])(
    'refuses "%s" by name',
    (text) => {
      try {
        parseAddress(text)
        expect.unreachable()
      } catch (error) {
        expect(isErrorCode(error, 'INVALID_ARGUMENT')).toBe(true)
        expect((error as Error).message).toContain(`"${text}"`)
      }
    },
  )
})

describe('isLoopback', () => {
  it.each(['127.0.0.1', '127.1.2.3', '::1', 'localhost', '::ffff:127.0.0.1'])('takes %s', (host) =>
    expect(isLoopback(host)).toBe(true),
  )
  it.each(['0.0.0.0', '::', '10.0.0.1', '128.0.0.1', '127.evil.example', 'localhost.example', ''])(
    'refuses "%s"',
    (host) => {
      expect(isLoopback(host)).toBe(false)
    },
  )
})

describe('contactHost', () => {
  it('keeps a host and replaces a wildcard', () => {
    expect(contactHost('10.1.2.3')).toBe('10.1.2.3')
    expect(contactHost('0.0.0.0')).toMatch(/^\d+\.\d+\.\d+\.\d+$/)
    expect(contactHost('0.0.0.0')).not.toBe('0.0.0.0')
  })
})
