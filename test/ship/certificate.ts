// A self-signed certificate for tests of TLS, made anew each time: X.509 in DER by hand, signed by node:crypto (RFC 5280; ECDSA on P-256 with SHA-256).
import { generateKeyPairSync, sign } from 'node:crypto'

export interface TestCertificate {
  /** PEM. */
  readonly cert: string
  readonly key: string
}

const OID = { ecdsaWithSha256: '06082a8648ce3d040302', commonName: '0603550403', altNames: '0603551d11' }
const DAY_MS = 86_400_000

/** For `localhost` and 127.0.0.1, valid from yesterday until tomorrow. */
export function testCertificate(): TestCertificate {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = der(0x30, Buffer.from(OID.ecdsaWithSha256, 'hex'))
  const name = der(0x30, der(0x31, der(0x30, Buffer.from(OID.commonName, 'hex'), der(0x0c, Buffer.from('localhost')))))
  const now = Date.now()
  const validity = der(0x30, time(now - DAY_MS), time(now + DAY_MS))
  const altNames = der(0x30, der(0x82, Buffer.from('localhost')), der(0x87, Buffer.from([127, 0, 0, 1])))
  const extensions = der(0xa3, der(0x30, der(0x30, Buffer.from(OID.altNames, 'hex'), der(0x04, altNames))))
  const version = der(0xa0, der(0x02, Buffer.from([2])))
  const serial = der(0x02, Buffer.from([1, 2, 3, 4]))
  const body = der(0x30, version, serial, algorithm, name, validity, name, publicKey.export({ type: 'spki', format: 'der' }), extensions)
  const signature = der(0x03, Buffer.from([0]), sign('sha256', body, privateKey))
  const text = der(0x30, body, algorithm, signature)
    .toString('base64')
    .match(/.{1,64}/g)!
    .join('\n')
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const length = body.length < 0x80 ? [body.length] : body.length < 0x100 ? [0x81, body.length] : [0x82, body.length >>> 8, body.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), body])
}

/** GeneralizedTime. */
function time(ms: number): Buffer {
  return der(0x18, Buffer.from(`${new Date(ms).toISOString().replaceAll(/[-:T]/g, '').slice(0, 14)}Z`))
}
