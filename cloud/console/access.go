package console

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"valence/cloud"
)

// joinData is the form for joining an atom, or the commands to copy.
type joinData struct {
	Environments []cloud.Environment
	Environment  string // id
	Name         string
	Command      string // "" before the token is created
	Run          string
	Expires      time.Time
	Plain        bool // the address is not https, so other machines could not use it
	Follow       *joinState
}

// joinState is the state of an install token.
type joinState struct {
	ID     string
	Token  cloud.InstallToken
	Atom   *cloud.Atom // nil: not used yet
	Over   bool
	Online bool
}

func (c *console) joinPage(v *visit) (*answer, error) {
	d := &joinData{Environment: v.URL.Query().Get("environment")}
	var err error
	d.Environments, err = c.Service.Environments.List(v.Context(), v.p)
	return &answer{page: "join", title: "Join an atom", data: d}, err
}

// join creates an install token and shows it once, within the command that uses
// it. The page then waits for the atom.
func (c *console) join(v *visit) (*answer, error) {
	minutes, err := strconv.Atoi(v.PostForm.Get("minutes"))
	if err != nil {
		return nil, &cloud.InvalidError{Field: "minutes", Message: "must be a whole number"}
	}
	t, err := c.Service.Fleet.CreateInstallToken(v.Context(), v.p, v.PostForm.Get("environment"), time.Duration(minutes)*time.Minute)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSpace(v.PostForm.Get("name"))
	address := address(v.Request)
	d := &joinData{Expires: t.Expires, Plain: strings.HasPrefix(address, "http:") && !loopback(v.Host), Follow: &joinState{ID: t.ID, Token: t},
		Command: "valence join " + address + " --token " + t.Token, Run: "valence run --data /var/lib/valence"}
	if name != "" {
		d.Command += " --name " + quoted(name)
	}
	d.Command += " --data /var/lib/valence"
	return &answer{page: "join", title: "Join an atom", data: d, every: soonEvery}, nil
}

// joined reports whether an install token has been used.
func (c *console) joined(v *visit) (*answer, error) {
	t, err := c.Service.Fleet.InstallToken(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	d := &joinState{ID: t.ID, Token: t, Over: !time.Now().Before(t.Expires)}
	if t.Used {
		x, err := c.Service.Fleet.Atom(v.Context(), v.p, t.AtomID)
		if err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			d.Atom, d.Online = &x, x.Status == cloud.Online
		}
	}
	a := &answer{page: "join", title: "Join an atom", data: &joinData{Follow: d}, every: 2 * soonEvery}
	if d.Online || d.Over && !t.Used {
		a.every = 0
	}
	return a, nil
}

// address returns the URL of this control plane as the browser sees it. Atoms
// most likely reach it under the same URL.
func address(r *http.Request) string {
	scheme := "http://"
	if secure(r) {
		scheme = "https://"
	}
	return scheme + quoted(r.Host)
}

func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

var plain = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]*$`)

// quoted quotes a text as exactly one word for a shell.
func quoted(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// tokensData is the list of API tokens.
type tokensData struct {
	Tokens       []tokenRow
	Environments []cloud.Environment
	Roles        []cloud.Role
	Made         *cloud.Token // created by this request, with its secret
	Own          string       // id of this session's token
}

type tokenRow struct {
	cloud.Token
	Places []string // names of the environments it is limited to
}

// Over reports whether the token has expired.
func (t tokenRow) Over() bool { return !t.Expires.IsZero() && !time.Now().Before(t.Expires) }

func (c *console) tokens(v *visit) (*answer, error) {
	return c.tokensPage(v, nil)
}

func (c *console) tokensPage(v *visit, made *cloud.Token) (*answer, error) {
	d := &tokensData{Roles: cloud.Roles(), Made: made, Own: v.p.TokenID}
	all, err := c.Service.Accounts.Tokens(v.Context(), v.p)
	if err != nil {
		return nil, err
	}
	if d.Environments, err = c.Service.Environments.List(v.Context(), v.p); err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, e := range d.Environments {
		names[e.ID] = e.Name
	}
	for _, t := range all {
		r := tokenRow{Token: t}
		for _, id := range t.Environments {
			name := names[id]
			if name == "" {
				name = id + " (deleted)"
			}
			r.Places = append(r.Places, name)
		}
		d.Tokens = append(d.Tokens, r)
	}
	return &answer{page: "tokens", title: "API tokens", data: d}, nil
}

// createToken creates a token and shows it once.
func (c *console) createToken(v *visit) (*answer, error) {
	t := cloud.Token{Name: strings.TrimSpace(v.PostForm.Get("name")), Role: cloud.Role(v.PostForm.Get("role"))}
	for _, id := range v.PostForm["environment"] {
		if id != "" {
			t.Environments = append(t.Environments, id)
		}
	}
	days, err := strconv.Atoi(strings.TrimSpace(v.PostForm.Get("days")))
	if err != nil || days < 0 || days > 36_500 {
		return nil, &cloud.InvalidError{Field: "days", Message: "must be a number from 0 to 36500"}
	}
	if days > 0 {
		t.Expires = time.Now().AddDate(0, 0, days).UTC()
	}
	made, err := c.Service.Accounts.CreateToken(v.Context(), v.p, t)
	if err != nil {
		return nil, err
	}
	return c.tokensPage(v, &made)
}

func (c *console) findToken(v *visit) (*cloud.Token, error) {
	all, err := c.Service.Accounts.Tokens(v.Context(), v.p)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].ID == v.PathValue("id") {
			return &all[i], nil
		}
	}
	return nil, &cloud.Error{Kind: cloud.ErrNotFound, Text: "no such token; it may have been revoked already"}
}

func (c *console) askRevokeToken(v *visit) (*answer, error) {
	t, err := c.findToken(v)
	if err != nil {
		return nil, err
	}
	what := []string{"The token stops working, and every session that was started with it ends. This cannot be undone."}
	if t.ID == v.p.TokenID {
		what = append(what, "You signed in with this token: you will be signed out.")
	}
	return confirm("Revoke the token "+t.Name+"?", &confirmation{
		Crumb: "API tokens", CrumbHref: "/tokens", Name: t.Name, What: what, Action: "/tokens/" + url.PathEscape(t.ID) + "/revoke", Button: "Revoke " + t.Name, Danger: true,
	})
}

func (c *console) revokeToken(v *visit) (*answer, error) {
	t, err := c.findToken(v)
	if err == nil {
		err = c.Service.Accounts.DeleteToken(v.Context(), v.p, t.ID)
	}
	if err != nil {
		return nil, err
	}
	return see("/tokens", "token-revoked")
}

// auditData is a page of the audit log.
type auditData struct {
	Text    string // search text
	Entries []cloud.AuditEntry
	Older   string
	Newest  bool
}

// maxEntries bounds the entries that one page searches. The next page continues
// at Older.
const maxEntries = 20_000

func (c *console) audit(v *visit) (*answer, error) {
	q := v.URL.Query()
	before, err := strconv.ParseInt(q.Get("before"), 10, 64)
	if err != nil {
		before = 0 // start with the newest
	}
	d := &auditData{Text: strings.TrimSpace(q.Get("q")), Newest: before == 0}
	step := pageSize
	if d.Text != "" {
		step = 1000
	}
	for looked := 0; len(d.Entries) < pageSize && looked < maxEntries; looked += step {
		entries, next, err := c.Service.Audit.List(v.Context(), v.p, before, step)
		if err != nil {
			return nil, err
		}
		before = next
		for i, e := range entries {
			if !mentions(e, d.Text) {
				continue
			}
			if d.Entries = append(d.Entries, e); len(d.Entries) == pageSize && i+1 < len(entries) {
				before = e.ID
				break
			}
		}
		if next == 0 {
			break
		}
	}
	if before != 0 {
		q.Set("before", strconv.FormatInt(before, 10))
		d.Older = "/audit?" + q.Encode()
	}
	a := &answer{page: "audit", title: "Audit log", data: d}
	if d.Newest && d.Text == "" {
		a.every = liveEvery
	}
	return a, nil
}

// mentions reports whether any field of an entry contains a text.
func mentions(e cloud.AuditEntry, text string) bool {
	text = strings.ToLower(text)
	for _, field := range []string{e.Who, e.Action, e.Object, e.Detail, e.From} {
		if strings.Contains(strings.ToLower(field), text) {
			return true
		}
	}
	return false
}
