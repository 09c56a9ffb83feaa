/** The call's name, its link, who is here, settings. */
import type { PanelName } from '../pages/InCall';
import { keyOf } from '../session/shortcuts';
import { CopyLink } from '../ui/CopyLink';
import { Icon } from '../ui/Icon';

interface Props {
  call: string;
  link: string;
  people: number;
  panel: PanelName | undefined;
  onPanel: (panel: PanelName) => void;
}

export function Header({ call, link, people, panel, onPanel }: Props) {
  return (
    <header className="call-header">
      <h1 className="call-name" title={call}>
        {call}
      </h1>
      <div className="call-header-actions">
        <CopyLink link={link} compact />
        <button
          type="button"
          className="button button-quiet"
          aria-label={`People: ${people}`}
          aria-expanded={panel === 'people'}
          aria-keyshortcuts={keyOf('people')}
          title={`People (${keyOf('people')})`}
          onClick={() => onPanel('people')}
        >
          <Icon name="people" size={20} />
          <span aria-hidden="true">{people}</span>
        </button>
        <button
          type="button"
          className="button button-quiet"
          aria-label="Devices"
          aria-expanded={panel === 'settings'}
          title="Devices"
          onClick={() => onPanel('settings')}
        >
          <Icon name="settings" size={20} />
        </button>
      </div>
    </header>
  );
}
