import { describe, expect, it } from 'vitest'
import { hostToken, sameHost } from './host-token.ts'

describe('host token', () => {
  it('is the same each time and names boot, namespaces and user', () => {
    const token = hostToken()
    expect(hostToken()).toBe(token)
    if (process.platform !== 'linux') return
    expect(token).toMatch(/^[0-9a-f-]{36}\/mnt:\[\d+\]\/user:\[\d+\]\/uid:\d+$/)
  })

  it('treats an unknown place as no place in common', () => {
    expect(sameHost(null, null)).toBe(false)
    expect(sameHost('a', null)).toBe(false)
    expect(sameHost('a', 'a')).toBe(true)
    expect(sameHost('a', 'b')).toBe(false)
  })
})
