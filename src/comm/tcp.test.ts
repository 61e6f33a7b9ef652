import { describeComm } from './comm.conformance.ts'
import { createToken } from './token.ts'

const credentials = { token: createToken(), tls: null, insecurePlaintext: false }

describeComm('tcp', () => ({ address: 'tcp://127.0.0.1:0', credentials }))
describeComm('tcp without a token, in plain text', () => ({
  address: 'tcp://127.0.0.1:0',
  credentials: { token: null, tls: null, insecurePlaintext: true },
}))
describeComm('tcp with a pre-shared key', () => ({ address: 'tcp://127.0.0.1:0', credentials, security: 'psk' }))
