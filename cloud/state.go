package cloud

import (
	"encoding/json"
	"fmt"
)

// kept is an object of the state.
type kept interface {
	keptAs() (kind, id, account string)
}

func (a *Account) keptAs() (string, string, string)      { return "account", a.ID, a.ID }
func (t *Token) keptAs() (string, string, string)        { return "token", t.ID, t.Account }
func (e *Environment) keptAs() (string, string, string)  { return "environment", e.ID, e.Account }
func (a *Atom) keptAs() (string, string, string)         { return "atom", a.ID, a.Account }
func (a *Attachment) keptAs() (string, string, string)   { return "attachment", a.ID, a.Account }
func (t *InstallToken) keptAs() (string, string, string) { return "installtoken", t.ID, t.Account }
func (c *Component) keptAs() (string, string, string)    { return "component", c.ID, c.Account }
func (p *Package) keptAs() (string, string, string)      { return "package", p.ID, p.Account }
func (d *Deployment) keptAs() (string, string, string)   { return "deployment", d.ID, d.Account }
func (x *Session) keptAs() (string, string, string)      { return "session", x.ID, x.Account }
func (x *Extension) keptAs() (string, string, string) {
	return "extension", x.EnvironmentID + "/" + x.Name, x.Account
}

// kindsKept gives an empty object of every kind.
func kindsKept() []kept {
	return []kept{&Account{}, &Token{}, &Environment{}, &Atom{}, &Attachment{}, &InstallToken{}, &Component{}, &Package{}, &Deployment{}, &Extension{}, &Session{}}
}

// fresh gives an empty object of a kind, nil for a kind that there is not.
func fresh(kind string) kept {
	for _, o := range kindsKept() {
		if k, _, _ := o.keptAs(); k == kind {
			return o
		}
	}
	return nil
}

// state is everything that is configured. The objects in it are never changed:
// a change puts another in their place.
type state struct {
	accounts     map[string]*Account
	tokens       map[string]*Token
	environments map[string]*Environment
	atoms        map[string]*Atom
	attachments  map[string]*Attachment
	installs     map[string]*InstallToken
	components   map[string]*Component
	packages     map[string]*Package
	deployments  map[string]*Deployment
	extensions   map[string]map[string]*Extension // by environment and name
	sessions     map[string]*Session

	byHash     map[string]*Token                 // by the token's hash
	installBy  map[string]*InstallToken          // likewise
	bySession  map[string]*Session               // by the secret's hash
	attachedTo map[string]*Attachment            // by atom
	attached   map[string]map[string]bool        // atoms, by environment
	active     map[string]map[string]*Deployment // by environment and project
	archives   map[string]int                    // packages that an archive has
}

func newState() *state {
	return &state{
		accounts: map[string]*Account{}, tokens: map[string]*Token{}, environments: map[string]*Environment{},
		atoms: map[string]*Atom{}, attachments: map[string]*Attachment{}, installs: map[string]*InstallToken{},
		components: map[string]*Component{}, packages: map[string]*Package{}, deployments: map[string]*Deployment{},
		extensions: map[string]map[string]*Extension{}, sessions: map[string]*Session{}, bySession: map[string]*Session{},
		byHash: map[string]*Token{}, installBy: map[string]*InstallToken{}, attachedTo: map[string]*Attachment{},
		attached: map[string]map[string]bool{}, active: map[string]map[string]*Deployment{}, archives: map[string]int{},
	}
}

// put adds an object, or puts it in the place of the one before.
func (st *state) put(o kept) {
	switch v := o.(type) {
	case *Account:
		st.accounts[v.ID] = v
	case *Token:
		st.tokens[v.ID] = v
		st.byHash[string(v.Hash)] = v
	case *Environment:
		st.environments[v.ID] = v
	case *Atom:
		st.atoms[v.ID] = v
	case *Attachment:
		st.attachments[v.ID] = v
		st.attachedTo[v.AtomID] = v
		if st.attached[v.EnvironmentID] == nil {
			st.attached[v.EnvironmentID] = map[string]bool{}
		}
		st.attached[v.EnvironmentID][v.AtomID] = true
	case *InstallToken:
		st.installs[v.ID] = v
		st.installBy[string(v.Hash)] = v
	case *Component:
		st.components[v.ID] = v
	case *Package:
		if st.packages[v.ID] == nil {
			st.archives[v.SHA256]++
		}
		st.packages[v.ID] = v
	case *Deployment:
		st.deployments[v.ID] = v
	case *Extension:
		if st.extensions[v.EnvironmentID] == nil {
			st.extensions[v.EnvironmentID] = map[string]*Extension{}
		}
		st.extensions[v.EnvironmentID][v.Name] = v
	case *Session:
		st.sessions[v.ID] = v
		st.bySession[string(v.Hash)] = v
	}
}

// drop removes an object.
func (st *state) drop(o kept) {
	switch v := o.(type) {
	case *Account:
		delete(st.accounts, v.ID)
	case *Token:
		delete(st.tokens, v.ID)
		delete(st.byHash, string(v.Hash))
	case *Environment:
		delete(st.environments, v.ID)
	case *Atom:
		delete(st.atoms, v.ID)
	case *Attachment:
		delete(st.attachments, v.ID)
		delete(st.attachedTo, v.AtomID)
		delete(st.attached[v.EnvironmentID], v.AtomID)
	case *InstallToken:
		delete(st.installs, v.ID)
		delete(st.installBy, string(v.Hash))
	case *Component:
		delete(st.components, v.ID)
	case *Package:
		delete(st.packages, v.ID)
		if st.archives[v.SHA256]--; st.archives[v.SHA256] <= 0 {
			delete(st.archives, v.SHA256)
		}
	case *Deployment:
		delete(st.deployments, v.ID)
	case *Extension:
		delete(st.extensions[v.EnvironmentID], v.Name)
	case *Session:
		delete(st.sessions, v.ID)
		delete(st.bySession, string(v.Hash))
	}
}

// reindex finds the active deployments anew.
func (st *state) reindex() {
	clear(st.active)
	for _, d := range st.deployments {
		if p := st.packages[d.PackageID]; d.Active && p != nil {
			if st.active[d.EnvironmentID] == nil {
				st.active[d.EnvironmentID] = map[string]*Deployment{}
			}
			st.active[d.EnvironmentID][p.Project] = d
		}
	}
}

// read takes an object from the store.
func (st *state) read(o Object) error {
	v := fresh(o.Kind)
	if v == nil {
		return fmt.Errorf("an object of the unknown kind %q is stored", o.Kind)
	}
	if err := json.Unmarshal(o.Body, v); err != nil {
		return fmt.Errorf("read the %s %s: %w", o.Kind, o.ID, err)
	}
	st.put(v)
	return nil
}

// environmentOf gives the environment that an atom is attached to, nil if none.
func (st *state) environmentOf(atom string) *Environment {
	if at := st.attachedTo[atom]; at != nil {
		return st.environments[at.EnvironmentID]
	}
	return nil
}

// owned finds what an account has under an id.
func owned[T any](m map[string]*T, id, account string, of func(*T) string) *T {
	if v := m[id]; v != nil && of(v) == account {
		return v
	}
	return nil
}
