-- description: What no model answered has an empty model and provider.
multiIf(
    {by:String} = 'tenant', toString(f.tenant),
    {by:String} = 'provider', toString(f.provider),
    {by:String} = 'prompt', toString(f.prompt_template),
    {by:String} = 'experiment', toString(f.experiment),
    {by:String} = 'day', toString(toDate(f.time)),
    toString(f.model)
) AS spend_key,  -- by is the query's own parameter, and f its request_figures
multiIf(
    {by:String} = 'model', toString(f.provider),
    {by:String} = 'prompt', toString(f.prompt_version),
    {by:String} = 'experiment', toString(f.arm),
    ''
) AS spend_detail
