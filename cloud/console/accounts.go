package console

import "valence/cloud"

// accountsData is the list of accounts that somebody may see.
type accountsData struct {
	Accounts []cloud.Account
	Makes    bool         // it is one who may make others
	Made     *madeAccount // just now
}

type madeAccount struct{ Name, Token string }

func (c *console) accounts(v *visit) (*answer, error) { return c.accountsPage(v, nil) }

func (c *console) accountsPage(v *visit, made *madeAccount) (*answer, error) {
	all, err := c.Service.Accounts(v.Context(), v.p)
	return &answer{page: "accounts", title: "Accounts", data: &accountsData{all, makesAccounts(v.p), made}}, err
}

// makesAccounts reports whether somebody may make accounts: admins of the
// default one may.
func makesAccounts(p cloud.Principal) bool {
	return p.May("account.create") && p.Account == cloud.DefaultAccount
}

// createAccount makes an account and shows the token of its first admin, this once.
func (c *console) createAccount(v *visit) (*answer, error) {
	name := v.PostForm.Get("name")
	token, err := c.Service.CreateAccount(v.Context(), v.p, name)
	if err != nil {
		return nil, err
	}
	return c.accountsPage(v, &madeAccount{name, token})
}
