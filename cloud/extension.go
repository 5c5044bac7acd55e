package cloud

import (
	"context"
	"fmt"
	"regexp"
	"sort"
	"strings"
)

// fieldName matches the names of the fields that an environment can set.
var fieldName = regexp.MustCompile(`^(env|secret)\.[A-Za-z_][A-Za-z0-9_]*$|^connection\.[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+$`)

// maxValue limits the value of a field, in bytes.
const maxValue = 64 << 10

// isSecret reports whether the value of a field is never returned.
func isSecret(name string) bool { return strings.HasPrefix(name, "secret.") }

// Extensions returns the fields of an environment that are set or that its
// deployments read. Secrets come without their value.
func (s *Environments) Extensions(_ context.Context, p Principal, environment string) ([]Extension, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, err := s.environmentFor(p, "extension.read", environment)
	if err != nil {
		return nil, err
	}
	all := map[string]Extension{}
	for _, d := range s.state.activeIn[e.ID] {
		for _, name := range s.state.packages[d.PackageID].Needs {
			all[name] = Extension{EnvironmentID: e.ID, Account: e.Account, Name: name, Secret: isSecret(name)}
		}
	}
	for name, x := range s.state.extensions[e.ID] {
		shown := *x
		shown.Set, shown.Sealed = true, nil
		_, needed := all[name]
		shown.Unread = !needed && len(s.state.activeIn[e.ID]) > 0 && !strings.HasPrefix(name, "connection.")
		all[name] = shown
	}
	fields := make([]Extension, 0, len(all))
	for _, x := range all {
		fields = append(fields, x)
	}
	sort.Slice(fields, func(i, j int) bool { return fields[i].Name < fields[j].Name })
	return fields, nil
}

// SetExtensions sets the given fields of an environment, and removes those that
// are not Set.
func (s *Environments) SetExtensions(ctx context.Context, p Principal, environment string, fields []Extension) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	e, err := s.environmentFor(p, "extension.update", environment)
	if err != nil {
		return err
	}
	for _, f := range fields {
		if !fieldName.MatchString(f.Name) {
			return invalid(f.Name, "must be named env.NAME, secret.NAME or connection.NAME.SETTING")
		}
		if len(f.Value) > maxValue {
			return invalid(f.Name, "must be at most %d bytes", maxValue)
		}
		old := s.state.extensions[e.ID][f.Name]
		if !f.Set {
			if old != nil {
				c.drop(old)
				c.audit(p, "extension.update", e.ID, "removed "+f.Name+" in "+e.Name)
			}
			continue
		}
		x := &Extension{EnvironmentID: e.ID, Account: e.Account, Name: f.Name, Secret: isSecret(f.Name)}
		if x.Secret {
			if f.Value == "" {
				return invalid(f.Name, "must not be empty")
			}
			x.Sealed = s.box.seal(e.ID+"/"+f.Name, f.Value)
		} else if x.Value = f.Value; old != nil && old.Value == f.Value {
			continue
		}
		c.put(x)
		c.audit(p, "extension.update", e.ID, "set "+f.Name+" in "+e.Name)
	}
	if len(c.Objects) == 0 {
		return nil
	}
	s.touchEnvironment(c, e)
	return s.commit(ctx, c)
}

// UnreadableSecrets returns the names of secrets, with their environments, that
// were encrypted under another key.
func (s *Environments) UnreadableSecrets() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var names []string
	for _, fields := range s.state.extensions {
		for _, x := range fields {
			if _, err := s.openSecret(x); x.Secret && err != nil {
				name := strings.TrimPrefix(x.Name, "secret.") + " of " + x.EnvironmentID
				if e := s.state.environments[x.EnvironmentID]; e != nil {
					name = strings.TrimPrefix(x.Name, "secret.") + " of " + e.Name
				}
				names = append(names, name)
			}
		}
	}
	sort.Strings(names)
	return names
}

// openSecret decrypts the value of a secret.
func (s *core) openSecret(x *Extension) (string, error) {
	text, err := s.box.open(x.EnvironmentID+"/"+x.Name, x.Sealed)
	if err != nil {
		return "", fmt.Errorf("%s of the environment %s: %w", x.Name, x.EnvironmentID, err)
	}
	return text, nil
}
