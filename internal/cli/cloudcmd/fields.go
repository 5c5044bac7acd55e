package cloudcmd

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/spec"
)

// maxSecret is the largest secret that is read from standard input.
const maxSecret = 1 << 20

type secretCommand struct {
	client.CloudFlags
	Environment string `required:"" placeholder:"NAME" help:"Environment."`
	Name        string `arg:"" help:"Name of the secret in processes: secret.NAME."`
	File        string `placeholder:"FILE" help:"File with the secret. Default: standard input. A secret is never an argument, because other users of the machine could see it."`
	Remove      bool   `help:"Remove the secret."`
}

// Help returns the text below the command's summary.
func (*secretCommand) Help() string {
	return `Examples:

    valence cloud secret SHOP_KEY --environment prod < key.txt
    valence cloud secret SHOP_KEY --environment prod --remove
`
}

// Run sets or removes a secret.
func (c *secretCommand) Run(s *terminal.Streams) error {
	field := "secret." + strings.TrimPrefix(c.Name, "secret.")
	if c.Remove {
		return setFields(s, &c.CloudFlags, c.Environment, map[string]*string{field: nil})
	}
	var text []byte
	var err error
	if c.File != "" {
		text, err = os.ReadFile(c.File)
	} else {
		text, err = io.ReadAll(io.LimitReader(s.In, maxSecret))
	}
	if err != nil {
		return clierror.Failed("--file FILE", "%v", err)
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" {
		return clierror.Usage("valence cloud secret "+c.Name+" --environment "+c.Environment+" < FILE", "the secret is empty")
	}
	return setFields(s, &c.CloudFlags, c.Environment, map[string]*string{field: &value})
}

type valueCommand struct {
	client.CloudFlags
	Environment string   `required:"" placeholder:"NAME" help:"Environment."`
	Values      []string `arg:"" name:"name=value" help:"Value to set. NAME stands for env.NAME; connection.NAME.SETTING overrides a setting. NAME alone removes the value."`
}

// Help returns the text below the command's summary.
func (*valueCommand) Help() string {
	return `Examples:

    valence cloud value --environment prod SHOP_URL=https://shop.example
    valence cloud value --environment prod connection.erp.timeout=20s
    valence cloud value --environment prod SHOP_URL
`
}

// Run sets or removes values.
func (c *valueCommand) Run(s *terminal.Streams) error {
	changes := map[string]*string{}
	for _, text := range c.Values {
		name, value, set := strings.Cut(text, "=")
		if strings.HasPrefix(name, "secret.") {
			return clierror.Usage("valence cloud secret "+strings.TrimPrefix(name, "secret.")+" --environment "+c.Environment, "a secret cannot be an argument: other users of the machine could see it")
		}
		if !strings.Contains(name, ".") {
			name = "env." + name
		}
		if changes[name] = nil; set {
			changes[name] = &value
		}
	}
	return setFields(s, &c.CloudFlags, c.Environment, changes)
}

// fields are the values and secrets of an environment.
type fields struct{ Fields []field }

type field struct {
	Name                string
	Value               *string // nil: not shown
	Secret, Set, Unread bool
}

// find returns the field with the name, or the zero field.
func (f *fields) find(name string) field {
	i := slices.IndexFunc(f.Fields, func(x field) bool { return x.Name == name })
	if i < 0 {
		return field{}
	}
	return f.Fields[i]
}

// missing returns the names of fields that are not set.
func (f *fields) missing() []string {
	var names []string
	for _, x := range f.Fields {
		if !x.Set {
			names = append(names, x.Name)
		}
	}
	return names
}

// setFields changes fields of an environment, prints each change, and warns
// about fields that no deployed project reads. A nil value removes a field.
func setFields(s *terminal.Streams, f *client.CloudFlags, environment string, changes map[string]*string) error {
	path := "/environments/" + url.PathEscape(environment) + "/fields"
	var before, after fields
	if _, err := f.Do(http.MethodGet, path, nil, &before); err != nil {
		return err
	}
	if _, err := f.Do(http.MethodPatch, path, changes, nil); err != nil {
		return err
	}
	if _, err := f.Do(http.MethodGet, path, nil, &after); err != nil {
		return err
	}
	missing := after.missing()
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		done := "set in"
		if changes[name] == nil {
			if done = "removed from"; !before.find(name).Set {
				done = "was not set in"
			}
		}
		if err := printLine(s, "%s %s %s", name, done, environment); err != nil {
			return err
		}
		if changes[name] != nil && after.find(name).Unread {
			hint := "valence cloud fields " + environment + " lists the fields in use"
			if meant := suggestField(name, missing); meant != "" {
				hint = "did you mean " + meant + "?"
			}
			fmt.Fprintf(s.Err, "warning: no project deployed to %s reads %s; %s\n", environment, name, hint)
		}
	}
	return nil
}

// suggestField returns the missing field that an unread one probably stands
// for: the same name with another kind, or a similar name. It is empty if there
// is none.
func suggestField(name string, missing []string) string {
	kind, bare, _ := strings.Cut(name, ".")
	var sameKind []string
	for _, m := range missing {
		k, b, _ := strings.Cut(m, ".")
		switch {
		case b == bare:
			return m
		case k == kind:
			sameKind = append(sameKind, b)
		}
	}
	if similar := spec.Suggest(bare, sameKind); similar != "" {
		return kind + "." + similar
	}
	return ""
}

type fieldsCommand struct {
	client.CloudFlags
	Environment string `arg:"" help:"Name of the environment."`
	JSON        bool   `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*fieldsCommand) Help() string { return "Example:\n\n    valence cloud fields prod --json\n" }

// Run lists fields.
func (c *fieldsCommand) Run(s *terminal.Streams) error {
	var list fields
	return c.Get(s, c.JSON, "/environments/"+url.PathEscape(c.Environment)+"/fields", &list, func() *terminal.Table {
		t := &terminal.Table{Head: []string{"FIELD", "VALUE", ""}}
		for _, f := range list.Fields {
			unread := ""
			if f.Unread {
				unread = "not read by any deployed project"
			}
			switch {
			case !f.Set:
				t.Add(f.Name, "(missing)", unread)
			case f.Value == nil:
				t.Add(f.Name, "(hidden)", unread)
			default:
				t.Add(f.Name, terminal.Truncate(*f.Value, 80), unread)
			}
		}
		return t
	})
}
