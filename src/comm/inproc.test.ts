import { describeComm } from './comm.conformance.ts'

describeComm('inproc', () => ({
  address: 'inproc://',
  credentials: { token: null, tls: null, insecurePlaintext: false },
}))
