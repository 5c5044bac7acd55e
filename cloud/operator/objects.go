package operator

import (
	"path/filepath"
	"strconv"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

type accountView struct {
	Name    string      `json:"name"`
	Created time.Time   `json:"created"`
	Token   string      `json:"token,omitempty"` // of its first admin; only on creation
	Quotas  []quotaView `json:"quotas,omitempty"`
}

// quotaView is the usage of one quota.
type quotaView struct {
	Quota string `json:"quota"`
	Used  int64  `json:"used"`
	Limit int64  `json:"limit"` // 0: unlimited
}

func quotaViews(u cloud.Usage, q cloud.Quotas) []quotaView {
	return []quotaView{
		{"packages", int64(u.Packages), int64(q.Packages)},
		{"package_bytes", u.PackageBytes, q.PackageBytes},
		{"atoms", int64(u.Atoms), int64(q.Atoms)},
		{"waiting_requests", int64(u.Waiting), int64(q.Waiting)},
	}
}

func (a *api) accounts(c *call) (any, error) {
	all, err := a.service.Accounts.List(c.Context(), c.p)
	views := []accountView{}
	for _, x := range all {
		used, err := a.service.Accounts.Usage(c.Context(), c.p, x.ID)
		if err != nil {
			return nil, err
		}
		views = append(views, accountView{Name: x.ID, Created: x.Created, Quotas: quotaViews(used, a.service.Accounts.Quotas())})
	}
	return map[string]any{"accounts": views}, err
}

func (a *api) createAccount(c *call) (any, error) {
	var in struct{ Name string }
	if err := c.read(&in); err != nil {
		return nil, err
	}
	token, err := a.service.Accounts.Create(c.Context(), c.p, in.Name)
	return accountView{Name: in.Name, Created: time.Now().UTC(), Token: token}, err
}

type tokenView struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	Role         cloud.Role `json:"role"`
	Environments []string   `json:"environments,omitempty"` // names
	Created      time.Time  `json:"created"`
	Expires      time.Time  `json:"expires,omitzero"`
	By           string     `json:"by,omitempty"`
	Token        string     `json:"token,omitempty"` // only on creation
}

func (a *api) tokenView(c *call, t cloud.Token) tokenView {
	v := tokenView{t.ID, t.Name, t.Role, nil, t.Created, t.Expires, t.By, t.Secret}
	for _, id := range t.Environments {
		v.Environments = append(v.Environments, a.environmentName(c, id))
	}
	return v
}

// environmentName returns the name of an environment, or its id if it was
// deleted.
func (a *api) environmentName(c *call, id string) string {
	if e, err := a.service.Environments.Get(c.Context(), c.p, id); err == nil {
		return e.Name
	}
	return id
}

func (a *api) tokens(c *call) (any, error) {
	all, err := a.service.Accounts.Tokens(c.Context(), c.p)
	views := []tokenView{}
	for _, t := range all {
		views = append(views, a.tokenView(c, t))
	}
	return map[string]any{"tokens": views}, err
}

func (a *api) createToken(c *call) (any, error) {
	var in struct {
		Name         string     `json:"name"`
		Role         cloud.Role `json:"role"`
		Environments []string   `json:"environments"`
		Expires      time.Time  `json:"expires"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	t, err := a.service.Accounts.CreateToken(c.Context(), c.p, cloud.Token{Name: in.Name, Role: in.Role, Environments: in.Environments, Expires: in.Expires})
	return a.tokenView(c, t), err
}

func (a *api) deleteToken(c *call) (any, error) {
	return nil, a.service.Accounts.DeleteToken(c.Context(), c.p, c.vars["id"])
}

func (a *api) createInstallToken(c *call) (any, error) {
	var in struct {
		Environment string `json:"environment"`
		Minutes     int    `json:"minutes"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	t, err := a.service.Fleet.CreateInstallToken(c.Context(), c.p, in.Environment, time.Duration(in.Minutes)*time.Minute)
	return map[string]any{"id": t.ID, "token": t.Token, "expires": t.Expires}, err
}

type atomView struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Status      string         `json:"status"`
	Environment string         `json:"environment,omitempty"`
	Version     string         `json:"version"`
	Host        string         `json:"host,omitempty"`
	Enrolled    time.Time      `json:"enrolled"`
	LastSeen    time.Time      `json:"last_seen,omitzero"`
	Revoked     bool           `json:"revoked,omitempty"`
	Retired     bool           `json:"retired,omitempty"`
	PurgeDays   int            `json:"purge_days,omitempty"`
	Generation  int64          `json:"generation"` // of its desired state
	Applied     int64          `json:"applied"`    // in effect
	Waiting     int            `json:"waiting"`    // undelivered messages
	Heartbeat   wire.Heartbeat `json:"heartbeat"`
}

func (a *api) atomViews(c *call, atoms []cloud.Atom) ([]atomView, error) {
	attached, err := a.service.Fleet.Attachments(c.Context(), c.p)
	where := map[string]string{}
	for _, at := range attached {
		where[at.AtomID] = a.environmentName(c, at.EnvironmentID)
	}
	views := []atomView{}
	for _, x := range atoms {
		views = append(views, atomView{x.ID, x.Name, x.Status, where[x.ID], x.Version, x.Host, x.Enrolled, x.LastSeen, x.Revoked, x.Retired, x.Purge, x.Generation, x.Applied, x.Waiting, x.Heartbeat})
	}
	return views, err
}

func (a *api) atoms(c *call) (any, error) {
	all, err := a.service.Fleet.Atoms(c.Context(), c.p)
	if err != nil {
		return nil, err
	}
	views, err := a.atomViews(c, all)
	return map[string]any{"atoms": views}, err
}

func (a *api) atom(c *call) (any, error) {
	x, err := a.service.Fleet.Atom(c.Context(), c.p, c.vars["id"])
	if err != nil {
		return nil, err
	}
	views, err := a.atomViews(c, []cloud.Atom{x})
	return views[0], err
}

// changeAtom changes the fields that are present.
func (a *api) changeAtom(c *call) (any, error) {
	var in struct {
		PurgeDays *int `json:"purge_days"`
	}
	err := c.read(&in)
	if err == nil && in.PurgeDays != nil {
		_, err = a.service.Fleet.SetPurge(c.Context(), c.p, c.vars["id"], *in.PurgeDays)
	}
	if err != nil {
		return nil, err
	}
	return a.atom(c)
}

func (a *api) revoke(c *call) (any, error) {
	return nil, a.service.Fleet.RevokeAtom(c.Context(), c.p, c.vars["id"])
}

// atomLog returns the last lines of an atom's log, read now.
func (a *api) atomLog(c *call) (any, error) {
	lines := 200
	if text := c.URL.Query().Get("lines"); text != "" {
		var err error
		if lines, err = strconv.Atoi(text); err != nil {
			return nil, &cloud.InvalidError{Field: "lines", Message: "must be 1 to 1000"}
		}
	}
	found, err := a.service.Fleet.AtomLog(c.Context(), c.p, c.vars["id"], lines)
	if err != nil {
		return nil, err
	}
	if found == nil {
		found = []wire.LogLine{}
	}
	return map[string]any{"lines": found}, nil
}

type listenerView struct {
	Process string `json:"process"`
	ID      string `json:"id"`
	Kind    string `json:"kind,omitempty"`
	Wanted  string `json:"wanted"`
	State   string `json:"state,omitempty"` // as last reported
}

func (a *api) listeners(c *call) (any, error) {
	all, err := a.service.Triggers.States(c.Context(), c.p, c.vars["id"])
	views := []listenerView{}
	for _, l := range all {
		views = append(views, listenerView{l.ProcessName, l.ProcessID, l.Kind, l.Wanted, l.State})
	}
	return map[string]any{"listeners": views}, err
}

// changeListener pauses, resumes or restarts the trigger of a process, or all
// triggers if no process is named.
func (a *api) changeListener(c *call) (any, error) {
	var in struct {
		Process string `json:"process"`
		Action  string `json:"action"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if in.Process == "" {
		in.Action += "_every"
	}
	return nil, a.service.Triggers.Change(c.Context(), c.p, c.vars["id"], in.Process, in.Action)
}

func (a *api) retire(c *call) (any, error) {
	return nil, a.service.Fleet.RetireAtom(c.Context(), c.p, c.vars["id"])
}

// resubmit asks the atom of a failed execution to run it again. The body is
// optional.
func (a *api) resubmit(c *call) (any, error) {
	var in struct {
		From string `json:"from"`
	}
	if c.ContentLength != 0 {
		if err := c.read(&in); err != nil {
			return nil, err
		}
	}
	request, err := a.service.Executions.Resubmit(c.Context(), c.p, c.vars["id"], in.From)
	return map[string]any{"request": request}, err
}

type environmentView struct {
	ID             string      `json:"id"`
	Name           string      `json:"name"`
	Classification string      `json:"classification"`
	Created        time.Time   `json:"created"`
	Policy         wire.Policy `json:"policy"`
}

func environmentOf(e cloud.Environment) environmentView {
	return environmentView{e.ID, e.Name, e.Classification, e.Created, e.Policy}
}

func (a *api) environments(c *call) (any, error) {
	all, err := a.service.Environments.List(c.Context(), c.p)
	views := []environmentView{}
	for _, e := range all {
		views = append(views, environmentOf(e))
	}
	return map[string]any{"environments": views}, err
}

func (a *api) createEnvironment(c *call) (any, error) {
	var in struct {
		Name           string      `json:"name"`
		Classification string      `json:"classification"`
		Policy         wire.Policy `json:"policy"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	e, err := a.service.Environments.Create(c.Context(), c.p, cloud.Environment{Name: in.Name, Classification: in.Classification, Policy: in.Policy})
	return environmentOf(e), err
}

func (a *api) deleteEnvironment(c *call) (any, error) {
	return nil, a.service.Environments.Delete(c.Context(), c.p, c.vars["id"])
}

// policy changes the fields that are present.
func (a *api) policy(c *call) (any, error) {
	e, err := a.service.Environments.Get(c.Context(), c.p, c.vars["id"])
	if err != nil {
		return nil, err
	}
	policy := e.Policy
	if err := c.read(&policy); err != nil {
		return nil, err
	}
	e, err = a.service.Environments.SetPolicy(c.Context(), c.p, e.ID, policy)
	return environmentOf(e), err
}

type fieldView struct {
	Name   string  `json:"name"`
	Value  *string `json:"value"` // null: not set, or a secret
	Secret bool    `json:"secret,omitempty"`
	Set    bool    `json:"set"`
	Unread bool    `json:"unread,omitempty"` // no deployment reads it
}

func (a *api) fields(c *call) (any, error) {
	all, err := a.service.Environments.Extensions(c.Context(), c.p, c.vars["id"])
	views := []fieldView{}
	for _, x := range all {
		v := fieldView{Name: x.Name, Secret: x.Secret, Set: x.Set, Unread: x.Unread}
		if x.Set && !x.Secret {
			v.Value = &x.Value
		}
		views = append(views, v)
	}
	return map[string]any{"fields": views}, err
}

// setFields sets the given fields; null removes one.
func (a *api) setFields(c *call) (any, error) {
	var in map[string]*string
	if err := c.read(&in); err != nil {
		return nil, err
	}
	var fields []cloud.Extension
	for name, value := range in {
		x := cloud.Extension{Name: name, Set: value != nil}
		if value != nil {
			x.Value = *value
		}
		fields = append(fields, x)
	}
	return nil, a.service.Environments.SetExtensions(c.Context(), c.p, c.vars["id"], fields)
}

func (a *api) audit(c *call) (any, error) {
	cursor, _ := strconv.ParseInt(c.FormValue("cursor"), 10, 64) // anything else starts at the newest entry
	limit, err := strconv.Atoi(c.FormValue("limit"))
	if err != nil {
		limit = 100
	}
	entries, next, err := a.service.Audit.List(c.Context(), c.p, cursor, limit)
	if entries == nil {
		entries = []cloud.AuditEntry{}
	}
	out := map[string]any{"entries": entries}
	if next != 0 {
		out["cursor"] = strconv.FormatInt(next, 10)
	}
	return out, err
}

func (a *api) backup(c *call) (any, error) {
	var in struct{ Folder string }
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(in.Folder) {
		return nil, &cloud.InvalidError{Field: "folder", Message: "must be the absolute path of a folder on the control plane's machine that does not exist yet"}
	}
	return map[string]string{"folder": in.Folder}, a.service.Backup(c.Context(), c.p, in.Folder)
}
