package main

import (
	"encoding/json"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	"github.com/cosmos/cosmos-sdk/x/auth/migrations/legacytx"
	"github.com/spf13/cobra"
)

// signData is ADR-036's message. The SDK describes it and, as of 0.53, has neither the type nor a command for it.
type signData struct {
	Signer string `json:"signer"`
	Data   []byte `json:"data"`
}

func (*signData) Reset()           {}
func (m *signData) String() string { return string(m.Data) }
func (*signData) ProtoMessage()    {}

// signDataDocument is what a wallet signs for an arbitrary text, made by the SDK's own amino code: no chain, no number, no fee.
func signDataDocument(signer, text string) []byte {
	amino := codec.NewLegacyAmino()
	amino.RegisterConcrete(&signData{}, "sign/MsgSignData", nil)
	legacytx.RegressionTestingAminoCodec = amino
	return legacytx.StdSignBytes("", 0, 0, 0, legacytx.StdFee{}, []sdk.Msg{&signData{Signer: signer, Data: []byte(text)}}, "")
}

// signDataCommand signs a text with a key of the keyring, a Ledger's too, and prints what Keplr's signArbitrary answers.
func signDataCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sign-data NAME TEXT",
		Short: "Sign a text with an account's key, as ADR-036 says",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, err := client.GetClientQueryContext(cmd)
			if err != nil {
				return err
			}
			key, err := ctx.Keyring.Key(args[0])
			if err != nil {
				return err
			}
			address, err := key.GetAddress()
			if err != nil {
				return err
			}
			document := signDataDocument(address.String(), args[1])
			signature, public, err := ctx.Keyring.Sign(args[0], document, signing.SignMode_SIGN_MODE_LEGACY_AMINO_JSON)
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{
				"signer":    address.String(),
				"sign_doc":  string(document),
				"pub_key":   map[string]any{"type": "tendermint/PubKeySecp256k1", "value": public.Bytes()},
				"signature": signature,
			})
		},
	}
}
