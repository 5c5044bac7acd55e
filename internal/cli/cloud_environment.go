package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"valence/internal/spec"
	"valence/internal/wire"
)

type cloudAtomsCmd struct {
	cloudRemote
	JSON bool `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudAtomsCmd) Help() string { return "Example:\n\n    valence cloud atoms --json\n" }

// Run lists atoms.
func (c *cloudAtomsCmd) Run(s *streams) error {
	var list struct {
		Atoms []struct {
			ID, Name, Status, Environment, Version, Host string
			LastSeen                                     time.Time `json:"last_seen"`
			Generation, Applied                          int64
			Waiting                                      int
			Retired                                      bool
			Heartbeat                                    struct {
				Health  string
				Backlog int64
				Failed  int64
			}
		}
	}
	return c.get(s, c.JSON, "/atoms", &list, func() *table {
		t := &table{head: []string{"ATOM", "ID", "STATUS", "ENVIRONMENT", "VERSION", "SEEN", "WAITING", "BACKLOG", "FAILED", "HEALTH"}}
		for _, a := range list.Atoms {
			health := a.Heartbeat.Health
			if a.Generation != a.Applied && health != "" {
				health += ", changing"
			}
			if a.Retired {
				health = "retired"
			}
			t.add(a.Name, a.ID, a.Status, a.Environment, a.Version, ago(a.LastSeen), fmt.Sprint(a.Waiting), fmt.Sprint(a.Heartbeat.Backlog), fmt.Sprint(a.Heartbeat.Failed), briefly(health))
		}
		return t
	})
}

// briefly gives the first line of what is wrong with an atom, and how many more
// there are: one for each project that does not run.
func briefly(health string) string {
	first, rest, more := strings.Cut(health, "\n")
	if first = cut(first, 100); more {
		first += fmt.Sprintf(" (and %d more: --json)", strings.Count(rest, "\n")+1)
	}
	return first
}

type cloudLogCmd struct {
	cloudRemote
	Atom  string `arg:"" help:"Its name or id."`
	Lines int    `default:"200" help:"How many lines, 1000 at most."`
	JSON  bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudLogCmd) Help() string {
	return `The atom is asked and answers with its next report; nothing is stored on the way.
It keeps its last 1,000 lines, of the level that it logs.

Example:

    valence cloud log edge-01 --lines 50
`
}

// Run shows an atom's log.
func (c *cloudLogCmd) Run(s *streams) error {
	text, err := c.do("GET", "/atoms/"+url.PathEscape(c.Atom)+"/log?lines="+strconv.Itoa(c.Lines), nil, nil)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, text)
	}
	var found struct {
		Lines []wire.LogLine `json:"lines"`
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return err
	}
	for _, l := range found.Lines {
		fmt.Fprintf(s.out, "%s %-5s %s\n", l.At.Local().Format(time.DateTime), l.Level, l.Text)
	}
	return nil
}

type cloudPurgeCmd struct {
	cloudRemote
	Atom string `arg:"" help:"Its name or id."`
	Days int    `required:"" help:"Days, at most 9999; 0: as its processes say with retention."`
}

// Help is shown below the command's summary.
func (*cloudPurgeCmd) Help() string {
	return `It counts for what ends from then on. Failed executions that nobody has dealt with
are kept all the same.

Example:

    valence cloud purge edge-01 --days 14
`
}

// Run changes how long an atom keeps what has ended.
func (c *cloudPurgeCmd) Run(s *streams) error {
	if _, err := c.do("PATCH", "/atoms/"+url.PathEscape(c.Atom), map[string]int{"purge_days": c.Days}, nil); err != nil {
		return err
	}
	text := "keeps what ends as its processes say"
	if c.Days > 0 {
		text = "keeps what ends for " + plural(c.Days, "day", "days") + " at most"
	}
	_, err := fmt.Fprintf(s.out, "the atom %s %s\n", c.Atom, text)
	return err
}

type cloudRetireCmd struct {
	cloudRemote
	Atom string `arg:"" help:"Its name or id."`
}

// Help is shown below the command's summary.
func (*cloudRetireCmd) Help() string {
	return `It is detached from its environment, finishes and reports what it has taken on,
and runs nothing of this control plane any more. It joins again to be used again.

Example:

    valence cloud retire edge-01
`
}

// Run retires an atom.
func (c *cloudRetireCmd) Run(s *streams) error {
	if _, err := c.do("POST", "/atoms/"+url.PathEscape(c.Atom)+"/retire", nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "the atom %s retires as soon as it asks; valence cloud revoke %s then forgets its keys\n", c.Atom, c.Atom)
	return err
}

type cloudRevokeCmd struct {
	cloudRemote
	Atom string `arg:"" help:"Its name or id."`
}

// Help is shown below the command's summary.
func (*cloudRevokeCmd) Help() string { return "Example:\n\n    valence cloud revoke edge-01\n" }

// Run revokes an atom.
func (c *cloudRevokeCmd) Run(s *streams) error {
	if _, err := c.do("DELETE", "/atoms/"+url.PathEscape(c.Atom), nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "the atom %s is revoked; what it runs goes on until it is stopped there\n", c.Atom)
	return err
}

type cloudEnvironmentsCmd struct {
	List   cloudEnvironmentListCmd   `cmd:"" default:"withargs" help:"List the environments (the default)."`
	Make   cloudEnvironmentMakeCmd   `cmd:"" help:"Make an environment."`
	Policy cloudEnvironmentPolicyCmd `cmd:"" help:"Change what an environment asks of its atoms."`
	Delete cloudEnvironmentDeleteCmd `cmd:"" help:"Delete an environment that no atom is attached to."`
}

// Help is shown below the command's summary.
func (*cloudEnvironmentsCmd) Help() string {
	return `Examples:

    valence cloud environments --json
    valence cloud environments make prod --production
    valence cloud environments policy prod --rollback-rate 0.2
`
}

type cloudEnvironmentListCmd struct {
	cloudRemote
	JSON bool `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudEnvironmentListCmd) Help() string { return (*cloudEnvironmentsCmd)(nil).Help() }

// Run lists environments.
func (c *cloudEnvironmentListCmd) Run(s *streams) error {
	var list struct {
		Environments []struct {
			ID, Name, Classification string
			Created                  time.Time
		}
	}
	return c.get(s, c.JSON, "/environments", &list, func() *table {
		t := &table{head: []string{"ENVIRONMENT", "ID", "KIND", "MADE"}}
		for _, e := range list.Environments {
			t.add(e.Name, e.ID, e.Classification, ago(e.Created))
		}
		return t
	})
}

type cloudEnvironmentMakeCmd struct {
	cloudRemote
	Name       string `arg:"" help:"Its name."`
	Production bool   `help:"It is classified as PROD, otherwise as TEST."`
	JSON       bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudEnvironmentMakeCmd) Help() string {
	return "Example:\n\n    valence cloud environments make prod --production\n"
}

// Run makes an environment.
func (c *cloudEnvironmentMakeCmd) Run(s *streams) error {
	in := map[string]string{"name": c.Name, "classification": "TEST"}
	if c.Production {
		in["classification"] = "PROD"
	}
	var made struct{ ID string }
	text, err := c.do("POST", "/environments", in, &made)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, text)
	}
	_, err = fmt.Fprintln(s.out, made.ID)
	return err
}

type cloudEnvironmentPolicyCmd struct {
	cloudRemote
	Name            string   `arg:"" help:"The environment."`
	RollbackRate    *float64 `help:"Most failures of a new version before its atoms go back to the one before, from 0 to 1; 0: none by rate."`
	RollbackMinutes *int     `help:"How long a version is new; 0 is 5."`
	SendDocuments   *bool    `negatable:"" help:"Atoms send documents with execution records."`
	ShortPoll       *bool    `negatable:"" help:"Atoms ask every few seconds, where a proxy forbids long requests."`
}

// Help is shown below the command's summary.
func (*cloudEnvironmentPolicyCmd) Help() string {
	return "Example:\n\n    valence cloud environments policy prod --rollback-rate 0.2 --send-documents\n"
}

// Run changes a policy.
func (c *cloudEnvironmentPolicyCmd) Run(s *streams) error {
	in := map[string]any{}
	if c.RollbackRate != nil {
		in["rollback_rate"] = *c.RollbackRate
	}
	if c.RollbackMinutes != nil {
		in["rollback_minutes"] = *c.RollbackMinutes
	}
	if c.SendDocuments != nil {
		in["send_documents"] = *c.SendDocuments
	}
	if c.ShortPoll != nil {
		in["short_poll"] = *c.ShortPoll
	}
	text, err := c.do("PATCH", "/environments/"+url.PathEscape(c.Name)+"/policy", in, nil)
	if err != nil {
		return err
	}
	return printJSON(s.out, text)
}

type cloudEnvironmentDeleteCmd struct {
	cloudRemote
	Name string `arg:"" help:"The environment."`
}

// Help is shown below the command's summary.
func (*cloudEnvironmentDeleteCmd) Help() string {
	return "Example:\n\n    valence cloud environments delete old\n"
}

// Run deletes an environment.
func (c *cloudEnvironmentDeleteCmd) Run(s *streams) error {
	if _, err := c.do("DELETE", "/environments/"+url.PathEscape(c.Name), nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "the environment %s is gone\n", c.Name)
	return err
}

type cloudSecretCmd struct {
	cloudRemote
	Environment string `required:"" help:"The environment."`
	Name        string `arg:"" help:"The secret's name, as processes use it: secret.NAME."`
	File        string `placeholder:"FILE" help:"Read it from a file; without it, from standard input. It is never an argument, which others on the machine could see."`
	Remove      bool   `help:"Remove it."`
}

// Help is shown below the command's summary.
func (*cloudSecretCmd) Help() string {
	return `Examples:

    valence cloud secret SHOP_KEY --environment prod < key.txt
    valence cloud secret SHOP_KEY --environment prod --remove
`
}

// Run sets a secret.
func (c *cloudSecretCmd) Run(s *streams) error {
	field := "secret." + strings.TrimPrefix(c.Name, "secret.")
	if c.Remove {
		return c.set(s, c.Environment, map[string]*string{field: nil})
	}
	var text []byte
	var err error
	if c.File != "" {
		text, err = os.ReadFile(c.File)
	} else {
		text, err = io.ReadAll(io.LimitReader(s.in, 1<<20))
	}
	if err != nil {
		return failed("--file FILE", "%v", err)
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" {
		return usage("valence cloud secret "+c.Name+" --environment "+c.Environment+" < FILE", "the secret is empty")
	}
	return c.set(s, c.Environment, map[string]*string{field: &value})
}

// set changes fields of an environment.
func (r *cloudRemote) set(s *streams, environment string, fields map[string]*string) error {
	path := "/environments/" + url.PathEscape(environment) + "/fields"
	var before, after shownFields
	if _, err := r.do("GET", path, nil, &before); err != nil {
		return err
	}
	if _, err := r.do("PATCH", path, fields, nil); err != nil {
		return err
	}
	if _, err := r.do("GET", path, nil, &after); err != nil {
		return err
	}
	var missing []string
	for _, f := range after.Fields {
		if !f.Set {
			missing = append(missing, f.Name)
		}
	}
	for _, name := range sortedKeys(fields) {
		done := "set in"
		if fields[name] == nil {
			if done = "removed in"; !before.find(name).Set {
				done = "was not set in"
			}
		}
		if _, err := fmt.Fprintf(s.out, "%s %s %s\n", name, done, environment); err != nil {
			return err
		}
		if fields[name] != nil && after.find(name).Unread {
			hint := "valence cloud fields " + environment + " lists what is read"
			if meant := meantField(name, missing); meant != "" {
				hint = "did you mean " + meant + "?"
			}
			fmt.Fprintf(s.err, "warning: nothing that is deployed to %s reads %s; %s\n", environment, name, hint)
		}
	}
	return nil
}

// meantField gives the field that is missing and was probably meant by one that
// nothing reads: of the same name and another kind, or a slip of the pen.
func meantField(name string, missing []string) string {
	kind, bare, _ := strings.Cut(name, ".")
	var same []string
	for _, m := range missing {
		k, b, _ := strings.Cut(m, ".")
		switch {
		case b == bare:
			return m
		case k == kind:
			same = append(same, b)
		}
	}
	if meant := spec.Suggest(bare, same); meant != "" {
		return kind + "." + meant
	}
	return ""
}

// shownFields are the fields of an environment as the API lists them.
type shownFields struct {
	Fields []shownField
}

type shownField struct {
	Name                string
	Value               *string
	Secret, Set, Unread bool
}

func (l *shownFields) find(name string) shownField {
	for _, f := range l.Fields {
		if f.Name == name {
			return f
		}
	}
	return shownField{}
}

type cloudValueCmd struct {
	cloudRemote
	Environment string   `required:"" help:"The environment."`
	Values      []string `arg:"" placeholder:"NAME=VALUE" help:"NAME is env.NAME for short, or connection.NAME.SETTING. NAME alone removes it."`
}

// Help is shown below the command's summary.
func (*cloudValueCmd) Help() string {
	return `Examples:

    valence cloud value --environment prod SHOP_URL=https://shop.example
    valence cloud value --environment prod connection.erp.timeout=20s
    valence cloud value --environment prod SHOP_URL
`
}

// Run sets values.
func (c *cloudValueCmd) Run(s *streams) error {
	fields := map[string]*string{}
	for _, text := range c.Values {
		name, value, set := strings.Cut(text, "=")
		if strings.HasPrefix(name, "secret.") {
			return usage("valence cloud secret "+strings.TrimPrefix(name, "secret.")+" --environment "+c.Environment, "a secret is not set as an argument, which others on the machine could see")
		}
		if !strings.Contains(name, ".") {
			name = "env." + name
		}
		if fields[name] = nil; set {
			fields[name] = &value
		}
	}
	return c.set(s, c.Environment, fields)
}

type cloudFieldsCmd struct {
	cloudRemote
	Environment string `arg:"" help:"The environment."`
	JSON        bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudFieldsCmd) Help() string { return "Example:\n\n    valence cloud fields prod --json\n" }

// Run lists fields.
func (c *cloudFieldsCmd) Run(s *streams) error {
	var list shownFields
	return c.get(s, c.JSON, "/environments/"+url.PathEscape(c.Environment)+"/fields", &list, func() *table {
		t := &table{head: []string{"FIELD", "VALUE", ""}}
		for _, f := range list.Fields {
			unread := ""
			if f.Unread {
				unread = "nothing deployed reads it"
			}
			switch {
			case !f.Set:
				t.add(f.Name, "(missing)", unread)
			case f.Value == nil:
				t.add(f.Name, "(not shown)", unread)
			default:
				t.add(f.Name, cut(*f.Value, 80), unread)
			}
		}
		return t
	})
}
