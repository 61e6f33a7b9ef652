import { describeComm } from './comm.conformance.ts'
import { createToken } from './token.ts'

const address = 'tcp://127.0.0.1:0'
const credentials = { token: createToken(), tls: null, insecurePlaintext: false }

describeComm('tcp', () => ({ address, credentials, transport: 'tcp' }))
describeComm('tcp without a token, in plain text', () => ({
  address,
  credentials: { token: null, tls: null, insecurePlaintext: true },
}))
describeComm('tcp with a pre-shared key', () => ({ address, credentials, security: 'psk' }))
