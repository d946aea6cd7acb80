export const kThemes = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof kThemes)[number];
const kName = 'ddpm.theme';

class ThemeChoice {
  current = $state<Theme>('auto');

  constructor() {
    try {
      this.set(kThemes.find((theme) => theme === localStorage.getItem(kName)) ?? 'auto');
    } catch {
      // storage is off: as the system
    }
  }

  set(theme: Theme): void {
    this.current = theme;
    if (theme === 'auto') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
    try {
      localStorage.setItem(kName, theme);
    } catch {
      // the choice lives as long as the page
    }
  }
}

export const theme = new ThemeChoice();
