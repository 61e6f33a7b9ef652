import { expect, it } from 'vitest'
import { takeCertificatesBack, withCertificatesAside } from './extra-certificates.ts'

it('a process starts without the variable and hands it on', () => {
  const environment: NodeJS.ProcessEnv = withCertificatesAside({ HOME: '/home/u', NODE_EXTRA_CA_CERTS: '/ca.pem' })
  expect(environment).not.toHaveProperty('NODE_EXTRA_CA_CERTS')
  takeCertificatesBack(environment)
  expect(environment).toEqual({ HOME: '/home/u', NODE_EXTRA_CA_CERTS: '/ca.pem' })
})

it('without the variable nothing is changed', () => {
  const environment: NodeJS.ProcessEnv = withCertificatesAside({ HOME: '/home/u' })
  expect(environment).toEqual({ HOME: '/home/u' })
  takeCertificatesBack(environment)
  expect(environment).toEqual({ HOME: '/home/u' })
})
