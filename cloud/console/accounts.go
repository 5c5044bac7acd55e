package console

import "valence/cloud"

// accountsData is the list of accounts that the principal may see.
type accountsData struct {
	Accounts []cloud.Account
	Makes    bool         // the principal may create accounts
	Made     *madeAccount // created by this request
}

type madeAccount struct{ Name, Token string }

func (c *console) accounts(v *visit) (*answer, error) { return c.accountsPage(v, nil) }

func (c *console) accountsPage(v *visit, made *madeAccount) (*answer, error) {
	all, err := c.Service.Accounts.List(v.Context(), v.p)
	return &answer{page: "accounts", title: "Accounts", data: &accountsData{all, makesAccounts(v.p), made}}, err
}

// makesAccounts reports whether a principal may create accounts: only
// administrators of the default account may.
func makesAccounts(p cloud.Principal) bool {
	return p.May("account.create") && p.Account == cloud.DefaultAccount
}

// createAccount creates an account and shows the token of its first
// administrator once.
func (c *console) createAccount(v *visit) (*answer, error) {
	name := v.PostForm.Get("name")
	token, err := c.Service.Accounts.Create(v.Context(), v.p, name)
	if err != nil {
		return nil, err
	}
	return c.accountsPage(v, &madeAccount{name, token})
}
