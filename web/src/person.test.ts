import { expect, it } from 'vitest';
import { rememberedPerson, rememberPerson } from './person';

function storage(initial?: string) {
  let value: string | null = initial ?? null;
  return { getItem: () => value, setItem: (_key: string, next: string) => void (value = next) };
}

it('remembers a person across visits', () => {
  const kept = storage();
  const person = { ...rememberedPerson(kept), name: 'Ada', microphone: 'desk', cameraOn: true };
  rememberPerson(person, kept);
  expect(rememberedPerson(kept)).toEqual(person);
});

it.each(['', 'null', '[]', '{"identity":7,"name":null,"cameraOn":"yes"}', '{bad'])('begins anew from %j', (damaged) => {
  const person = rememberedPerson(storage(damaged));
  expect(person.identity).toMatch(/^[0-9a-f]{24}$/);
  expect(person).toMatchObject({ name: '', microphone: undefined, camera: undefined, cameraOn: false });
});
