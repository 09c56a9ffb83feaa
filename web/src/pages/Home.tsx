/** The start page: a name for a call, one's own or a random one. */
import { useState } from 'react';
import { randomCallName } from '../names';
import { callNameFrom } from '../route';
import type { PageConfig } from '../server';
import { Centered } from '../ui/Card';
import { Icon } from '../ui/Icon';

export function Home({ config, onOpen }: { config: PageConfig; onOpen: (call: string) => void }) {
  const [typed, setTyped] = useState('');
  const [suggestion, setSuggestion] = useState(() => randomCallName());
  const name = callNameFrom(typed);

  if (config.access === 'token') {
    return (
      <Centered>
        <h1>Join with your link</h1>
        <p className="lead">
          Calls on this server take an invitation: open the link you were given. Have you none? Ask the person who
          invites you, or whoever runs this server.
        </p>
        <Version version={config.version} />
      </Centered>
    );
  }

  return (
    <Centered>
      <h1>Start a call</h1>
      <p className="lead">Name it, and share its link. The link stays the same for every call you hold there.</p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onOpen(name || suggestion);
        }}
      >
        <label className="label" htmlFor="call-name">
          Name of the call
        </label>
        <div className="field-with-button">
          <input
            id="call-name"
            className="field"
            value={typed}
            placeholder={suggestion}
            maxLength={80}
            autoComplete="off"
            autoCapitalize="none"
            spellCheck={false}
            autoFocus
            aria-describedby="call-link"
            onChange={(event) => setTyped(event.target.value)}
          />
          <button
            type="button"
            className="icon-button field-button"
            aria-label="Suggest another name"
            title="Suggest another name"
            onClick={() => {
              setTyped('');
              setSuggestion(randomCallName());
            }}
          >
            <Icon name="dice" />
          </button>
        </div>
        <p id="call-link" className="hint">
          {window.location.host}/c/<strong>{name || suggestion}</strong>
        </p>
        <button type="submit" className="button button-primary button-large">
          Continue
          <Icon name="arrow" size={20} />
        </button>
      </form>
      <Version version={config.version} />
    </Centered>
  );
}

function Version({ version }: { version: string }) {
  return version === '' ? null : <p className="version">Version {version}</p>;
}
