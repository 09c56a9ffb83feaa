import { describe, expect, it } from 'vitest';
import { protocolOf } from './transport';

const candidates: [string, unknown][] = [
  ['L1', { type: 'local-candidate', protocol: 'udp' }],
  ['L2', { type: 'local-candidate', protocol: 'TCP' }],
];

describe('protocolOf', () => {
  it('follows the transport’s selected pair', () => {
    expect(
      protocolOf([
        ...candidates,
        ['P1', { type: 'candidate-pair', localCandidateId: 'L1', nominated: true, state: 'succeeded' }],
        ['P2', { type: 'candidate-pair', localCandidateId: 'L2' }],
        ['T', { type: 'transport', selectedCandidatePairId: 'P2' }],
      ]),
    ).toBe('tcp');
  });

  it('takes the pair Firefox marks as selected', () => {
    expect(
      protocolOf([...candidates, ['P1', { type: 'candidate-pair', localCandidateId: 'L1', selected: true }]]),
    ).toBe('udp');
  });

  it('knows nothing before a pair is chosen', () => {
    expect(protocolOf([...candidates, ['P1', { type: 'candidate-pair', localCandidateId: 'L1', state: 'waiting' }]])).toBe(
      undefined,
    );
  });
});
